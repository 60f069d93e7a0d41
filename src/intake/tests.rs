//! The module from outside: bytes in, rows and errors out.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

// Reading.

struct Outcome {
    header: Option<Header>,
    items: Vec<FileItem>,
    result: Result<ReadSummary, IntakeError>,
}

fn read_all(bytes: impl Read, options: &ReadOptions) -> Outcome {
    let mut header = None;
    let mut items = Vec::new();
    let result = read(
        bytes,
        options,
        &mut |found| assert!(header.replace(found.clone()).is_none(), "the header is told once"),
        &mut |item| {
            items.push(item);
            ControlFlow::Continue(())
        },
    );
    Outcome { header, items, result }
}

/// One line for each row: its numbers and what it says, or its errors.
fn lines(bytes: &[u8], options: &ReadOptions) -> Vec<String> {
    let outcome = read_all(bytes, options);
    if let Err(error) = outcome.result {
        return vec![format!("unusable: {error}")];
    }
    outcome.items.iter().flat_map(show).collect()
}

fn show(item: &FileItem) -> Vec<String> {
    match item {
        FileItem::Row(FileRow { line, numbers, fields, cautions }) => {
            let numbers = match numbers {
                RowNumbers::None => "no number".to_owned(),
                RowNumbers::Block { first, last } if first == last => first.to_string(),
                RowNumbers::Block { first, last } => format!("{first}-{last}"),
            };
            let said = written(fields);
            let said = said.iter().filter_map(|(field, text)| Some(format!(" {field}={}", text.as_ref()?)));
            let cautions = cautions.iter().map(|caution| {
                assert_eq!(caution.line, *line);
                format!(" caution {}={:?} {}", caution.column, caution.value, caution.reason)
            });
            vec![format!("{line}: {numbers}{}{}", said.collect::<String>(), cautions.collect::<String>())]
        }
        FileItem::Bad { line, numbers, errors } => {
            assert!(!errors.is_empty(), "a bad row says why");
            let show = |error: &RowError| {
                assert_eq!(error.line, *line);
                format!("{line}: bad x{numbers} {}={:?} {}", error.column, error.value, error.message)
            };
            errors.iter().map(show).collect()
        }
    }
}

#[track_caller]
fn check_with(options: &ReadOptions, text: &str, expected: &[&str]) {
    let found = lines(text.as_bytes(), options);
    let fits =
        found.len() == expected.len() && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(fits, "input: {text}\nexpected: {expected:#?}\nfound: {found:#?}");
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_with(&ReadOptions::default(), text, expected);
}

fn mapped(mappings: &[&str]) -> ReadOptions {
    let mappings = mappings.iter().map(|text| text.parse().expect("a mapping")).collect();
    ReadOptions { mappings, ..ReadOptions::default() }
}

// Writing, for the round trip.

/// Every field but the numbers, as text; none where it is absent.
fn written(fields: &RowFields) -> Vec<(Field, Option<String>)> {
    fn text<T: ToString>(cell: &Cell<T>) -> Option<String> {
        match cell {
            Cell::Absent => None,
            Cell::Empty => Some(String::new()),
            Cell::Value(value) => Some(value.to_string()),
        }
    }
    let tags = match &fields.tags {
        Cell::Absent => None,
        Cell::Empty => Some(String::new()),
        Cell::Value(tags) => Some(tags.iter().collect::<Vec<_>>().join(";")),
    };
    vec![
        (Field::AccountAuthId, text(&fields.account)),
        (Field::AccountName, text(&fields.account_name)),
        (Field::ApplicationId, text(&fields.application)),
        (Field::ApplicationName, text(&fields.application_name)),
        (Field::TrunkId, text(&fields.trunk)),
        (Field::Status, text(&fields.status)),
        (Field::Blocked, text(&fields.blocked)),
        (Field::State, text(&fields.state)),
        (Field::MonthlyCost, text(&fields.cost)),
        (Field::Currency, text(&fields.currency)),
        (Field::AssignedAt, text(&fields.assigned_at)),
        (Field::ExpiresAt, text(&fields.expires_at)),
        (Field::NumberType, text(&fields.number_type)),
        (Field::Country, text(&fields.country)),
        (Field::Region, text(&fields.region)),
        (Field::Tags, tags),
        (Field::QuarantineEndsAt, text(&fields.quarantine_ends_at)),
        (Field::ReservedUntil, text(&fields.reserved_until)),
        (Field::ReservedFor, text(&fields.reserved_for)),
        (Field::Since, text(&fields.since)),
    ]
}

fn ends(numbers: RowNumbers) -> (String, String) {
    match numbers {
        RowNumbers::None => (String::new(), String::new()),
        RowNumbers::Block { first, last } if first == last => (first.to_string(), String::new()),
        RowNumbers::Block { first, last } => (first.to_string(), last.to_string()),
    }
}

/// All columns; what is absent is written empty.
fn as_csv(rows: &[(RowNumbers, RowFields)], delimiter: u8, return_too: bool) -> Vec<u8> {
    let ending = if return_too { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
    let mut writer = ::csv::WriterBuilder::new().delimiter(delimiter).terminator(ending).from_writer(Vec::new());
    let names = written(&RowFields::default()).into_iter().map(|(field, _)| field.as_str());
    writer.write_record(["number", "number_end"].into_iter().chain(names)).expect("memory");
    for (numbers, fields) in rows {
        let (first, last) = ends(*numbers);
        let mut record = vec![first, last];
        record.extend(written(fields).into_iter().map(|(_, text)| text.unwrap_or_default()));
        if *numbers == RowNumbers::None {
            record[Field::State as usize] = "no_number".to_owned();
        }
        writer.write_record(record).expect("memory");
    }
    writer.into_inner().expect("memory")
}

fn as_json(numbers: RowNumbers, fields: &RowFields) -> serde_json::Value {
    let (first, last) = ends(numbers);
    let mut object = serde_json::Map::new();
    object.insert("number".to_owned(), if first.is_empty() { serde_json::Value::Null } else { first.into() });
    if !last.is_empty() {
        object.insert("number_end".to_owned(), last.into());
    }
    for (field, text) in written(fields) {
        let value = match (field, text) {
            (_, None) => continue,
            (_, Some(text)) if text.is_empty() => serde_json::Value::Null,
            (Field::Tags, Some(text)) => text.split(';').collect::<Vec<_>>().into(),
            (_, Some(text)) => text.into(),
        };
        object.insert(field.to_string(), value);
    }
    if numbers == RowNumbers::None {
        object.insert("state".to_owned(), "no_number".into());
    }
    object.into()
}

fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let mut packed = Vec::new();
    for part in parts {
        let mut encoder = GzEncoder::new(&mut packed, Compression::fast());
        encoder.write_all(part).expect("memory");
        encoder.finish().expect("memory");
    }
    packed
}

// Formats.

const ROW: &str = "2: +912271264217 account_auth_id=MA_1 account_name=A, B";

#[test]
fn the_delimiter_is_found_in_the_header() {
    for text in [
        "number,account_auth_id,account_name\n+912271264217,MA_1,\"A, B\"\n",
        "number;account_auth_id;account_name\n+912271264217;MA_1;A, B",
        "number\taccount_auth_id\taccount_name\r\n+912271264217\tMA_1\tA, B\r\n",
        "\u{feff}\"Number\" ; ACCOUNT_AUTH_ID;\" account_name \"\n\"+912271264217\";MA_1;A, B\n\n \r\n;;\n",
        "account_name;account_auth_id;number\nA, B;MA_1;+912271264217\n",
    ] {
        check(text, &[ROW]);
        let packed = gzip(&[text.as_bytes()]);
        assert_eq!(lines(&packed, &ReadOptions::default()), [ROW], "gzip of {text}");
    }
}

#[test]
fn ndjson_and_json_are_found_in_the_content() {
    let row = r#"{"number": "+912271264217", "account_auth_id": "MA_1", "account_name": "A, B"}"#;
    let first = ROW.replace("2:", "1:");
    for text in [
        row.to_owned(),
        format!("{row}\r\n\n"),
        format!("\u{feff}{row}\n"),
        format!("[{row}]"),
        format!("{{\"data\":[{row}],\"meta\":{{\"total\":1,\"page\":1,\"per_page\":20}}}}"),
        format!("{{\n  \"meta\": {{\"data\": [1]}},\n  \"data\" : [\n    {row}\n  ]\n}}\n"),
    ] {
        check(&text, &[&first]);
    }
    check(&format!("\n{row}\n{row}"), &[ROW, &ROW.replace("2:", "3:")]);
    check(&format!("{{\"data\":[{row}]}}{{\"data\":[]}}\n[{row}]"), &[&first, ROW]);
    check(r#"{"data":[],"meta":{}}"#, &[]);
    check("[]", &[]);
}

#[test]
fn the_specifications_answer_is_read_to_the_letter() {
    let answer = r#"{
      "data": [
        {
          "number": "+912271264217",
          "number_type": "local",
          "country": "IN",
          "region": "Mumbai",
          "status": "active",
          "application_id": "app_abc123",
          "application_name": "Main IVR",
          "trunk_id": "trunk_xyz",
          "monthly_cost": 500.00,
          "currency": "INR",
          "assigned_at": "2026-02-01T10:00:00Z",
          "expires_at": null
        }
      ],
      "meta": { "total": 3, "page": 1, "per_page": 20 }
    }"#;
    check(
        answer,
        &["1: +912271264217 application_id=app_abc123 application_name=Main IVR trunk_id=trunk_xyz status=active \
           monthly_cost=500.00 currency=INR assigned_at=2026-02-01T10:00:00Z expires_at= number_type=local country=IN \
           region=Mumbai"],
    );
}

#[test]
fn gzip_has_members() {
    let packed = gzip(&[b"number\n+9122712", b"64217\n", b"", b"+912271264218\n"]);
    assert_eq!(lines(&packed, &ReadOptions::default()), ["2: +912271264217", "3: +912271264218"]);
    let cut = lines(&packed[..packed.len() - 5], &ReadOptions::default());
    assert_eq!(cut, ["unusable: the gzip data is damaged or cut off; fetch or pack the file again"]);
    let mut damaged = packed.clone();
    damaged[14] ^= 0x55;
    assert!(lines(&damaged, &ReadOptions::default())[0].starts_with("unusable:"));
    let outcome = read_all(&packed[..], &ReadOptions::default());
    assert_eq!(outcome.result.expect("readable").bytes, packed.len() as u64);
}

#[test]
fn text_is_utf8_or_of_a_named_encoding() {
    let header = "number,account_name\n";
    let latin = [header.as_bytes(), b"+912271264217,Plain\n+912271264218,Caf\xe9\n"].concat();
    assert!(lines(&latin, &ReadOptions::default())[0].starts_with("unusable: line 3 is not UTF-8 text"));

    let windows = ReadOptions { encoding: Some(encoding_rs::WINDOWS_1252), ..ReadOptions::default() };
    assert_eq!(lines(&latin, &windows)[1], "3: +912271264218 account_name=Café");
    let marked = format!("\u{feff}{header}+912271264217,Café\n");
    assert_eq!(lines(marked.as_bytes(), &windows), ["2: +912271264217 account_name=Café"]);

    let utf16: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(lines(&utf16, &ReadOptions::default()), ["2: +912271264217 account_name=Café"]);
    assert!(lines(&utf16[2..], &ReadOptions::default())[0].contains("name it with --encoding utf-16le"));
    let named = ReadOptions { encoding: Some(encoding_rs::UTF_16LE), ..ReadOptions::default() };
    assert_eq!(lines(&utf16[2..], &named), ["2: +912271264217 account_name=Café"]);

    let japanese = ReadOptions { encoding: Some(encoding_rs::SHIFT_JIS), ..ReadOptions::default() };
    assert!(lines(&latin, &japanese)[0].starts_with("unusable: line 3 is not Shift_JIS text"));

    let nested = b"[{\"number\":\"+912271264217\"},\n{\"account_name\":\"a\n\xff\"}]";
    assert!(lines(nested, &ReadOptions::default())[0].starts_with("unusable: line 3 is not UTF-8 text"));
}

#[test]
fn other_files_are_named() {
    for (bytes, expected) in [
        (&b"PK\x03\x04rest of it"[..], "a spreadsheet, and damaged or cut off; fetch or save it again"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "an old spreadsheet (.xls), or one with a password; save the sheet as .xlsx",
        ),
        (b"\x28\xb5\x2f\xfdrest", "packed with zstd"),
        (b"\xfd7zXZ\0rest", "packed with xz"),
        (b"%PDF-1.7", "a PDF"),
        (b"number\0\n", "NUL bytes"),
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"number,status\r+912271264217,active\r", "carriage return alone"),
    ] {
        let found = lines(bytes, &ReadOptions::default());
        assert!(found[0].starts_with("unusable:") && found[0].contains(expected), "{expected}: {found:?}");
    }
    let twice = gzip(&[&gzip(&[b"number\n"])]);
    assert!(lines(&twice, &ReadOptions::default())[0].contains("packed with gzip twice"));
}

// Other products' exports. The files are made up, in the columns and the forms
// of each product's public documentation.

#[track_caller]
fn check_export(export: KnownExport, text: &str, expected: &[&str]) {
    let outcome = read_all(text.as_bytes(), &ReadOptions::default());
    let summary = outcome.result.expect("readable");
    assert_eq!(summary.export, Some(export), "input: {text}");
    assert_eq!(summary.unknown, [] as [&str; 0], "input: {text}");
    let found: Vec<String> = outcome.items.iter().flat_map(show).collect();
    assert_eq!(found, expected, "input: {text}");
}

#[test]
fn a_vobiz_export_is_read() {
    check_export(
        KnownExport::Vobiz,
        "e164,account_id,country,region,status,monthly_fee,currency,application_id,trunk_group_id,purchased_at,is_blocked,next_billing_date,source\n\
         +912271264217,MA_48149cf4,IN,Mumbai,active,300,INR,20577609616603585,,2026-03-25T06:58:38.796024Z,false,2026-04-25T06:58:38Z,purchased\n\
         +912271264218,MA_48149cf4,IN,Mumbai,blocked,200,INR,,tg_1,2026-02-17T10:25:30Z,true,,purchased\n",
        &[
            "2: +912271264217 account_auth_id=MA_48149cf4 application_id=20577609616603585 trunk_id= status=active is_blocked=false \
             monthly_cost=300 currency=INR assigned_at=2026-03-25T06:58:38Z country=IN region=Mumbai",
            "3: +912271264218 account_auth_id=MA_48149cf4 application_id= trunk_id=tg_1 status=suspended is_blocked=true \
             monthly_cost=200 currency=INR assigned_at=2026-02-17T10:25:30Z country=IN region=Mumbai",
        ],
    );
    check_export(
        KnownExport::Vobiz,
        "{\"items\":[{\"id\":\"aabb\",\"account_id\":\"MA_1\",\"e164\":\"+912271264217\",\"capabilities\":{\"voice\":true},\
         \"status\":\"active\",\"provider\":\"\",\"setup_fee\":100,\"monthly_fee\":300.50,\"currency\":\"INR\",\"voice_enabled\":true,\
         \"tags\":[\"vip\"],\"purchased_at\":\"2026-03-25T06:58:38Z\",\"is_blocked\":false,\"last_billing_date\":null}],\
         \"page\":1,\"per_page\":20,\"total\":1,\"account_auth_id\":\"MA_1\"}",
        &["1: +912271264217 account_auth_id=MA_1 status=active is_blocked=false monthly_cost=300.5 currency=INR \
           assigned_at=2026-03-25T06:58:38Z tags=vip"],
    );
    check_export(
        KnownExport::Vobiz,
        "e164,auth_id,status\n+912271264217,MA_1,released\n",
        &[
            "2: bad x1 status=\"released\" is nothing that a number which is here and works has as its status with Vobiz; \
           leave the row out, or ignore the column with --map",
        ],
    );
}

#[test]
fn a_plivo_export_is_read() {
    check_export(
        KnownExport::Plivo,
        "number,alias,sub_account,added_on,application,carrier,region,number_type,monthly_rental_rate,renewal_date\n\
         17609915566,,/v1/Account/MAXX/Subaccount/SAYY/,2023-02-14,/v1/Account/MAXX/Application/29986316244302815/,Plivo,\"California, UNITED STATES\",local,0.80000,2023-05-10\n\
         442079460123,desk,,2023-02-15,,Plivo,\"London, UNITED KINGDOM\",fixed,1.50000,2023-05-15\n",
        &[
            "2: +17609915566 account_auth_id=SAYY application_id=29986316244302815 monthly_cost=0.8 \
             assigned_at=2023-02-14T00:00:00Z number_type=local region=California",
            "3: +442079460123 account_auth_id= application_id= monthly_cost=1.5 \
             assigned_at=2023-02-15T00:00:00Z number_type=local region=London",
        ],
    );
    check_export(
        KnownExport::Plivo,
        "{\"api_id\":\"114de006\",\"meta\":{\"limit\":3,\"total_count\":1},\"objects\":[{\"number\":\"18135401302\",\"alias\":null,\
         \"sub_account\":null,\"added_on\":\"2021-08-05\",\"application\":\"/v1/Account/MAXX/Application/299/\",\"monthly_rental_rate\":\"0.80000\",\
         \"number_type\":\"national\",\"sms_enabled\":true,\"voice_enabled\":true}]}",
        &[
            "1: +18135401302 account_auth_id= application_id=299 monthly_cost=0.8 assigned_at=2021-08-05T00:00:00Z number_type=",
        ],
    );
    // The same columns, and cells that are not what they should be.
    check_export(
        KnownExport::Plivo,
        "number,sub_account,application,added_on\n1760991,/v1/Account/MAXX/,/v1/Account/MAXX/Endpoint/7/,2023-02-14 10:00:00\n",
        &[
            "2: bad x1 application=\"/v1/Account/MAXX/Endpoint/7/\" must be an id, or a URI that ends in /Application/ and the id",
            "2: bad x1 added_on=\"2023-02-14 10:00:00\" must be a time with its zone, such as 2026-02-01T10:00:00Z or \
             2026-02-01T15:30:00+05:30, or a day, such as 2026-02-01",
        ],
    );
}

#[test]
fn a_twilio_export_is_read() {
    check_export(
        KnownExport::Twilio,
        "sid,account_sid,phone_number,friendly_name,date_created,date_updated,status,voice_application_sid,trunk_sid\n\
         PN01,AC02,+15105647903,(510) 564-7903,\"Thu, 30 Jul 2015 23:19:04 +0000\",\"Thu, 30 Jul 2015 23:19:04 +0000\",in-use,,TK03\n\
         PN04,AC02,+442079460123,Desk,\"Tue, 20 Aug 2024 15:09:59 -0700\",,in-use,AP05,\n",
        &[
            "2: +15105647903 account_auth_id=AC02 application_id= trunk_id=TK03 status=active assigned_at=2015-07-30T23:19:04Z",
            "3: +442079460123 account_auth_id=AC02 application_id=AP05 trunk_id= status=active assigned_at=2024-08-20T22:09:59Z",
        ],
    );
    // A label becomes a tag if that is what one wants.
    let outcome = read_all(
        "phone_number,account_sid,friendly_name\n+15105647903,AC02,Desk\n".as_bytes(),
        &mapped(&["friendly_name=tags"]),
    );
    assert_eq!(show(&outcome.items[0]), ["2: +15105647903 account_auth_id=AC02 tags=Desk"]);
    check_export(
        KnownExport::Twilio,
        "{\"incoming_phone_numbers\":[{\"sid\":\"PN01\",\"account_sid\":\"AC02\",\"phone_number\":\"+15105647903\",\
         \"date_created\":\"Thu, 30 Jul 2015 23:19:04 +0000\",\"capabilities\":{\"voice\":true}}],\"page\":0}",
        &["1: +15105647903 account_auth_id=AC02 assigned_at=2015-07-30T23:19:04Z"],
    );
    check_export(
        KnownExport::Twilio,
        "phone_number,sid,date_created\n+15105647903,PN01,\"Mon, 30 Jul 2015 23:19:04 +0000\"\n",
        &[
            "2: bad x1 date_created=\"Mon, 30 Jul 2015 23:19:04 +0000\" must be a day, such as 2026-02-01, or a time, such as \
           2026-02-01T10:00:00Z",
        ],
    );
}

#[test]
fn a_telnyx_export_is_read() {
    check_export(
        KnownExport::Telnyx,
        "id,phone_number,status,connection_id,connection_name,purchased_at,tags\n\
         1293384261075731499,+19705555098,active,1293384261075731461,office line,2019-10-23T18:10:00.000Z,\n\
         1293384261075731500,+19705555099,port-pending,,,2019-10-23T18:10:00.000Z,\n",
        &[
            "2: +19705555098 application_id=1293384261075731461 application_name=office line status=active \
             assigned_at=2019-10-23T18:10:00Z tags=",
            "3: bad x1 status=\"port-pending\" is nothing that a number which is here and works has as its status with Telnyx; \
             leave the row out, or ignore the column with --map",
        ],
    );
}

#[test]
fn a_didww_export_is_read() {
    check_export(
        KnownExport::Didww,
        "number,description,blocked,capacity_limit,expires_at,created_at\n16091609123,,true,2,2019-01-27T10:00:04.755Z,2018-12-27T09:59:53.123Z\n",
        &["2: +16091609123 is_blocked=true assigned_at=2018-12-27T09:59:53Z expires_at=2019-01-27T10:00:04Z"],
    );
    // These columns are not the product's own.
    let found = lines(b"number,expires_at,created_at\n16091609123,,\n", &ReadOptions::default());
    assert!(found[0].contains("has no +"), "{found:?}");
}

#[test]
fn a_bandwidth_export_is_read() {
    check_export(
        KnownExport::Bandwidth,
        "FullNumber;City;State;AccountId;Status\n2025550123;WASHINGTON;DC;9900012;Inservice\n12025550123;WASHINGTON;DC;9900012;Inservice\n",
        &[
            "2: +12025550123 account_auth_id=9900012 status=active region=WASHINGTON",
            "3: bad x1 FullNumber=\"12025550123\" must be the ten digits of a North American number, such as 2025550123, or \
             international with its +",
        ],
    );
}

#[test]
fn a_portabilling_export_is_read() {
    check_export(
        KnownExport::PortaBilling,
        "DID Number,Country,Recurring Cost\n+442079460123,United Kingdom,1.50000\n442079460124,GB,2\n",
        &[
            "2: +442079460123 monthly_cost=1.5 country=",
            "3: bad x1 DID Number=\"442079460124\" has no +; write the whole international number with it, or say what the digits are: \
             --assume-plus if they are international, --default-country if they are national",
        ],
    );
}

#[test]
fn what_is_nobodys_export_is_not_guessed() {
    check("number\n17609915566\n", &["2: bad x1 number=\"17609915566\" has no +"]);
    check("number,application\n17609915566,app_1\n", &["2: bad x1 number=\"17609915566\" has no +"]);
    check("FullNumber\n2025550123\n", &["2: bad x1 FullNumber=\"2025550123\" has no +"]);
    check("Number,Sub Account\n17609915566,SA1\n", &["2: bad x1 Number=\"17609915566\" has no +"]);
    check("Number,Added On\n17609915566,2021-08-05\n", &["2: bad x1 Number=\"17609915566\" has no +"]);
    check("phone_number\n+15105647903\n", &["2: +15105647903"]);
    check(
        "phone_number,account_sid,connection_id\n+15105647903,AC1,7\n",
        &["unusable: the columns could be those of a Twilio export or of a Telnyx one; ignore what tells one of them"],
    );
    check_with(
        &mapped(&["account_sid=-"]),
        "phone_number,account_sid,connection_id\n+15105647903,AC1,7\n",
        &["2: +15105647903 application_id=7"],
    );
    // Said twice is refused, also when the two names are not ours.
    check(
        "e164,auth_id,account_id\n+912271264217,MA_1,MA_1\n",
        &["unusable: columns \"auth_id\" and \"account_id\" both say account_auth_id"],
    );
    check(
        "number,sub_account,application,account_auth_id\n17609915566,SA1,,MA_1\n",
        &["unusable: columns \"sub_account\" and \"account_auth_id\" both say account_auth_id"],
    );
    // The first row of JSON tells for all.
    check(
        "{\"number\":\"17609915566\",\"monthly_rental_rate\":\"0.80000\"}\n{\"number\":\"17609915567\"}\n",
        &["1: +17609915566 monthly_cost=0.8", "2: +17609915567"],
    );
    check(
        "{\"number\":\"+17609915566\"}\n{\"number\":\"17609915567\",\"monthly_rental_rate\":\"0.80000\"}\n",
        &["1: +17609915566", "2: bad x1 number=\"17609915567\" has no +"],
    );
}

// Rows one level down.

#[test]
fn rows_one_level_down_are_found() {
    let row = r#"{"number":"+912271264217","account_auth_id":"MA_1"}"#;
    let one: &[&str] = &["1: +912271264217 account_auth_id=MA_1"];
    for text in [
        format!(r#"{{"numbers":[{row}]}}"#),
        format!(r#"{{"count":1,"numbers":[{row}],"links":[{{"rel":"self"}}]}}"#),
        format!(r#"{{"phone_numbers":[{row}],"page_count":1}}"#),
        format!(r#"{{"PhoneNumbers":[{row}]}}"#),
        format!("{{\n \"anything\" : [ {row} ],\n \"total\": 1 }}"),
        format!(r#"{{"errors":[{{"code":1}}],"anything":[{row}]}}"#),
        format!(r#"{{"included":[{{"id":1}}],"data":[{row}]}}"#),
        format!(r#"{{"response":{{"numbers":[{row}]}},"status":"ok"}}"#),
        format!(r#"{{"data":{{"total":1,"items":[{row}]}}}}"#),
        format!(r#"{{"_embedded":{{"numbers":[{row}]}},"_links":{{}}}}"#),
        format!(r#"{{"data":{row}}}"#),
        format!(r#"{{"data":[{{"id":"1","type":"dids","attributes":{row},"links":{{}}}}]}}"#),
        format!(r#"{{"data":{{"id":"1","type":"dids","attributes":{row}}}}}"#),
        format!(r#"[{{"id":"1","type":"dids","attributes":{row}}}]"#),
        format!(r#"{{"id":"1","type":"dids","attributes":{row}}}"#),
        r#"{"attributes":{"number":"+912271264217"},"account_auth_id":"MA_1"}"#.to_owned(),
        // A row that has rows is a row.
        r#"{"number":"+912271264217","features":[{"a":1}],"account_auth_id":"MA_1"}"#.to_owned(),
        r#"{"features":[{"a":1}],"account_auth_id":"MA_1","number":"+912271264217"}"#.to_owned(),
    ] {
        check(&text, one);
    }
    check(r#"{"numbers":[],"count":0}"#, &[]);
    check(
        &format!(r#"{{"one":[{row}],"other":[{row}]}}"#),
        &[
            r#"unusable: not JSON at line 1, column 70: the answer has rows under "one" and under "other"; keep one of them"#,
        ],
    );
    check(
        &format!(r#"{{"data":[{{"id":"1","attributes":{row},"number":"+1"}}]}}"#),
        &["1: bad x1 number=\"\" is there twice in the row"],
    );
    // What is extracted is read again.
    let answer = format!(r#"{{"numbers":[{{"id":"1","attributes":{row}}}]}}"#);
    let mut out = Vec::new();
    extract(answer.as_bytes(), &ReadOptions::default(), &[1], &mut out).expect("extracted");
    assert_eq!(lines(&out, &ReadOptions::default()), one);
}

#[test]
fn a_separator_line_and_formulas_of_text_are_understood() {
    let one: &[&str] = &["3: +912271264217 account_auth_id=00123"];
    for text in [
        "sep=;\nnumber;account_auth_id\n+912271264217;00123\n",
        "\u{feff}sep=;\r\nnumber;account_auth_id\r\n+912271264217;00123\r\n",
        "sep=,\nnumber,account_auth_id\n=\"+912271264217\",=\"00123\"\n",
        "sep=\t\nnumber\taccount_auth_id\n+912271264217\t00123\n",
        "\"sep=|\"\nnumber|account_auth_id\n\"=\"\"+912271264217\"\"\"|\"=\"\"00123\"\"\"\n",
    ] {
        check(text, one);
        let utf16: Vec<u8> = std::iter::once(0xfeff)
            .chain(text.trim_start_matches('\u{feff}').encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(lines(&utf16, &ReadOptions::default()), one, "UTF-16 of {text}");
    }
    check("=\"Number\",x\n=\"+912271264217\",\n", &["2: +912271264217"]);
    check("number,tags\n=+912271264217,\n", &["2: bad x1 number=\"=+912271264217\""]);
    let packed = gzip(&[b"sep=|\nnumber|tags\n+912271264217|a\n+1|b\n"]);
    let mut out = Vec::new();
    extract(&packed[..], &ReadOptions::default(), &[4], &mut out).expect("extracted");
    assert_eq!(String::from_utf8_lossy(&out), "sep=|\nnumber|tags\n+1|b\n");
}

// Spreadsheets.

/// The parts of a workbook whose first sheet has this XML between its rows' tags.
fn workbook(sheet: &str) -> Vec<(&'static str, String)> {
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    vec![
        (
            "_rels/.rels",
            format!("<Relationships><Relationship Id=\"rId1\" Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"),
        ),
        (
            "xl/workbook.xml",
            "<workbook><workbookPr/><sheets><sheet name=\"A\" sheetId=\"1\" r:id=\"rId7\"/>\
             <sheet name=\"B\" sheetId=\"2\" r:id=\"rId8\"/></sheets></workbook>"
                .to_owned(),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!(
                "<Relationships><Relationship Id=\"rId8\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet1.xml\"/>\
                 <Relationship Id=\"rId7\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet9.xml\"/></Relationships>"
            ),
        ),
        (
            "xl/styles.xml",
            "<styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\"yyyy\\-mm\\-dd\"/>\
             <numFmt numFmtId=\"165\" formatCode=\"0.0E+00\"/><numFmt numFmtId=\"166\" formatCode=\"[h]:mm\"/></numFmts>\
             <cellStyleXfs><xf numFmtId=\"14\"/></cellStyleXfs>\
             <cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"164\"/><xf numFmtId=\"22\"/><xf numFmtId=\"165\"/>\
             <xf numFmtId=\"166\"/></cellXfs></styleSheet>"
                .to_owned(),
        ),
        (
            "xl/sharedStrings.xml",
            "<sst uniqueCount=\"99999999999\"><si><t>number</t></si><si/><si><r><t>+91227</t></r><r><t>1264217</t></r>\
             <rPh><t>x</t></rPh></si><si><t xml:space=\"preserve\"> A &amp; B&#33;</t></si></sst>"
                .to_owned(),
        ),
        ("xl/worksheets/sheet9.xml", format!("<worksheet><dimension ref=\"Z9:A1\"/><sheetData>{sheet}</sheetData></worksheet>")),
        ("xl/worksheets/sheet1.xml", "<worksheet><sheetData/></worksheet>".to_owned()),
    ]
}

fn packed(parts: &[(&str, String)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, text) in parts {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).expect("memory");
        writer.write_all(text.as_bytes()).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

#[test]
fn call_records_come_as_a_spreadsheet() {
    let texts = |number: u64, texts: &[&str]| {
        let cells: Vec<(&str, String)> = texts.iter().map(|text| ("t=\"str\"", format!("<v>{text}</v>"))).collect();
        sheet_row(number, &cells.iter().map(|(attributes, within)| (*attributes, within.as_str())).collect::<Vec<_>>())
    };
    let head = ["uuid", "Start_Time", "currency", "total_cost", "billsec", "to_number", "call_direction", "note"];
    let row = [
        "556677881234567890ABCDEF12345678",
        "2026-03-25T06:59:26Z",
        "INR",
        "0.3",
        "61",
        "918012345678",
        "inbound",
        "x",
    ];
    let bad = ["9", "2026-03-25T06:59:26Z", "INR", "dear", "61", "918012345678", "inbound", "x"];
    let sheet = [texts(1, &head), texts(3, &row), texts(4, &bad)].concat();
    let read = |sheet: &str| {
        let (mut calls, mut faults) = (Vec::new(), Vec::new());
        let take: calls::TakeCall<'_> = &mut |_, record| match record {
            Ok(call) => calls.push((call.seconds, call.cost.to_string(), call.ours().map(|number| number.to_string()))),
            Err(fault) => faults.push(fault.to_string()),
        };
        let done = calls::read_calls(&packed(&workbook(sheet))[..], None, take).map_err(|error| error.to_string());
        done.map(|read| (read.records, calls, faults))
    };
    let (records, found, faults) = read(&sheet).expect("rows");
    assert_eq!((records, found), (2, vec![(61, "0.3".to_owned(), Some("+918012345678".to_owned()))]));
    assert!(faults.len() == 1 && faults[0].starts_with("row 4: ") && faults[0].contains("dear"), "{faults:?}");
    assert!(read("").expect_err("nothing").contains("empty"));
    assert!(read(&texts(1, &["uuid", "currency"])).expect_err("columns").contains("no column start_time"));
}

/// A row of cells; each is its attributes and what is in it.
fn sheet_row(number: u64, cells: &[(&str, &str)]) -> String {
    let cell = |(attributes, within): &(&str, &str)| format!("<c {attributes}>{within}</c>");
    format!("<row r=\"{number}\">{}</row>", cells.iter().map(cell).collect::<String>())
}

const SHEET_HEADER: &str = "<row r=\"2\"><c r=\"B2\" t=\"s\"><v>0</v></c><c r=\"C2\" t=\"inlineStr\"><is><t>account auth id</t></is></c>\
    <c t=\"str\"><v>monthly_cost</v></c><c r=\"E2\" t=\"inlineStr\"><is><t>expires at</t></is></c>\
    <c r=\"F2\" t=\"inlineStr\"><is><t>Is blocked</t></is></c></row>";

#[track_caller]
fn check_sheet(rows: &str, expected: &[&str]) {
    let options = ReadOptions { assume_plus: true, ..ReadOptions::default() };
    let found = lines(&packed(&workbook(&format!("{SHEET_HEADER}{rows}"))), &options);
    let fits =
        found.len() == expected.len() && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(fits, "input: {rows}\nexpected: {expected:#?}\nfound: {found:#?}");
}

#[test]
fn cells_of_a_sheet_are_what_their_program_says() {
    let cell = |column: char, attributes: &str, within: &str| -> String {
        sheet_row(5, &[("r=\"B5\" t=\"s\"", "<v>2</v>"), (&format!("r=\"{column}5\" {attributes}"), within)])
    };
    let number = |attributes: &str, within: &str| sheet_row(5, &[(&format!("r=\"B5\" {attributes}"), within)]);
    for (rows, expected) in [
        (number("t=\"s\"", "<v>2</v>"), "5: +912271264217 account_auth_id= "),
        (number("", "<v>912271264217</v>"), "5: +912271264217"),
        (number("t=\"n\"", "<v>9.12271264217E11</v>"), "5: +912271264217"),
        (number("", "<v>912271264217.5</v>"), "5: bad x1 number=\"912271264217.5\" is a decimal number"),
        (number("s=\"3\"", "<v>912271264217</v>"), "5: bad x1 number=\"9.12271264217E11\" is in scientific notation"),
        (number("t=\"str\"", "<f>A1</f><v>+912271264217</v>"), "5: +912271264217"),
        (number("", "<f>A1</f>"), "5: bad x1 number=\"\" is a formula without a result"),
        (number("t=\"e\"", "<v>#REF!</v>"), "5: bad x1 number=\"#REF!\" is an error of the spreadsheet"),
        (number("t=\"inlineStr\"", "<is><t>9.12271E+11</t></is>"), "5: bad x1 number=\"9.12271E+11\" is in scientific"),
        (cell('C', "t=\"s\"", "<v>3</v>"), "5: +912271264217 account_auth_id=A & B! "),
        (cell('C', "", "<v>123</v>"), "5: +912271264217 account_auth_id=123 "),
        (
            cell('C', "", "<v>20577609616603585</v>"),
            "5: bad x1 account auth id=\"2.0577609616603584E16\" is a number of more than 15",
        ),
        (cell('C', "", "<f>B1</f>"), "5: bad x1 account auth id=\"\" is a formula without a result"),
        (cell('C', "t=\"str\"", "<f>B1</f><v></v>"), "5: +912271264217 account_auth_id= "),
        (
            cell('D', "", "<v>0.30000000000000004</v>"),
            "5: +912271264217 account_auth_id= is_blocked= monthly_cost=0.3 ",
        ),
        (cell('D', "", "<v>1e-9</v>"), "5: +912271264217 account_auth_id= is_blocked= monthly_cost=0.000000001 "),
        (
            cell('E', "s=\"1\"", "<v>46054</v>"),
            "5: +912271264217 account_auth_id= is_blocked= monthly_cost= expires_at=2026-02-01T00:00:00Z",
        ),
        (
            cell('E', "s=\"2\"", "<v>46054.416666666664</v>"),
            "5: +912271264217 account_auth_id= is_blocked= monthly_cost= expires_at=2026-02-01T10:00:00Z",
        ),
        (cell('E', "", "<v>46054</v>"), "5: bad x1 expires at=\"46054\" is a bare number"),
        (cell('E', "s=\"4\"", "<v>1.5</v>"), "5: bad x1 expires at=\"1.5\" "),
        (cell('F', "t=\"b\"", "<v>1</v>"), "5: +912271264217 account_auth_id= is_blocked=true "),
        (cell('C', "t=\"b\"", "<v>0</v>"), "5: bad x1 account auth id=\"FALSE\" must be text"),
        (cell('G', "", "<v>1</v>"), "5: bad x1 =\"1\" has a cell in column G, to which the header gives no name"),
    ] {
        check_sheet(&rows, &[expected]);
    }
}

#[test]
fn rows_of_a_sheet_are_those_of_the_sheet() {
    let row = |at: u64| sheet_row(at, &[(&format!("r=\"B{at}\" t=\"s\""), "<v>2</v>")]);
    let blank = sheet_row(4, &[("r=\"B4\" s=\"1\"", ""), ("r=\"XFD4\" s=\"1\"", "")]);
    check_sheet(&format!("<row r=\"3\"/>{blank}{}{}", row(7), row(1_048_576)), &["7: +91", "1048576: +91"]);
    check_sheet("", &[]);
    check_sheet(&row(1), &["unusable: the spreadsheet cannot be read: its rows are not in order"]);
    check_sheet(&row(1_048_577), &["unusable: the spreadsheet cannot be read: it has more rows"]);
    check_sheet(
        "<row r=\"5\"><c r=\"B5\" t=\"s\"><v>9</v></c></row>",
        &["unusable: the spreadsheet cannot be read: a cell has a text"],
    );
    check_sheet(
        "<row r=\"5\"><c r=\"ZZZZ5\"><v>9</v></c></row>",
        &["unusable: the spreadsheet cannot be read: a cell is at a place"],
    );
    check_sheet("<row r=\"5\"><c r=\"ZZ5\"><v>9</v></c></row>", &["5: bad x1 =\"9\" has a cell in column ZZ"]);
    check_sheet("<row r=\"5\"><c r=\"XFD5\"><v>9</v></c></row>", &["unusable: the file has more than 1000 columns"]);
    check_sheet("<row r=\"5\"><c r=\"B5\"><v>1</v>", &["unusable: the spreadsheet cannot be read: "]);
    let empty = lines(&packed(&workbook("")), &ReadOptions::default());
    assert!(empty[0].starts_with("unusable: the file is empty"), "{empty:?}");
}

#[test]
fn what_a_merged_cell_covers_is_refused_where_it_is_read() {
    let text = |at: u64| {
        sheet_row(at, &[(&format!("r=\"B{at}\" t=\"inlineStr\""), &format!("<is><t>+91227126421{at}</t></is>"))])
    };
    let mut parts = workbook("");
    parts[5].1 = format!(
        "<worksheet><sheetData>{SHEET_HEADER}{}{}{}</sheetData><mergeCells count=\"2\"><mergeCell ref=\"C5:C6\"/>\
         <mergeCell ref=\"H5:H7\"/></mergeCells></worksheet>",
        text(5),
        text(6),
        text(7)
    );
    let found = lines(&packed(&parts), &ReadOptions::default());
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("5: +912271264215"), "{found:?}");
    assert!(found[1].starts_with("6: bad x1 account auth id=\"\" is part of a merged cell"), "{found:?}");
    assert!(found[2].starts_with("7: +912271264217"), "{found:?}");
}

#[test]
fn a_workbook_is_told_from_other_archives() {
    let check = |parts: &[(&str, String)], expected: &str| {
        let found = lines(&packed(parts), &ReadOptions::default());
        assert!(found[0].contains(expected), "{expected}: {found:?}");
    };
    let text = |name: &'static str, text: &str| (name, text.to_owned());
    check(&[text("numbers.csv", "number\n")], "the file is a zip archive; unpack it first");
    check(&[text("mimetype", "application/vnd.oasis.opendocument.spreadsheet")], "(.ods); save the sheet as .xlsx");
    check(&[text("[Content_Types].xml", ""), text("xl/workbook.bin", "")], "a binary spreadsheet (.xlsb)");
    check(&[text("[Content_Types].xml", ""), text("word/document.xml", "")], "a document without a sheet");
    let mut hidden = workbook("");
    hidden[1].1 = hidden[1].1.replacen("r:id", "state=\"hidden\" r:id", 1);
    check(&hidden, "the first sheet, \"A\", is hidden");
    // Without the parts that a workbook need not have.
    let mut plain = workbook(&format!(
        "{SHEET_HEADER}{}",
        sheet_row(3, &[("r=\"B3\" t=\"inlineStr\"", "<is><t>+912271264217</t></is>")])
    ));
    plain[5].1 = plain[5]
        .1
        .replace("<c r=\"B2\" t=\"s\"><v>0</v></c>", "<c r=\"B2\" t=\"inlineStr\"><is><t>number</t></is></c>");
    plain.drain(3..5);
    plain.remove(0);
    check(&plain, "3: +912271264217");
    check(&plain[..2], "its first sheet is nowhere in the file");
}

#[test]
fn a_bomb_of_a_workbook_costs_time_only() {
    let mut parts = workbook("");
    let long = "9".repeat(RECORD_BYTES_MAX + (64 << 10));
    parts[5].1 = format!(
        "<worksheet><sheetData>{SHEET_HEADER}<row r=\"3\"><c r=\"B3\" t=\"inlineStr\"><is><t>{long}</t></is></c></row></sheetData></worksheet>"
    );
    let found = lines(&packed(&parts), &ReadOptions::default());
    assert!(found[0].contains("a cell of more than 1 MB"), "{found:?}");
    parts[5].1 = format!(
        "<worksheet><sheetData>{SHEET_HEADER}<row r=\"3\">{}</row></sheetData></worksheet>",
        format!("<c t=\"inlineStr\"><is><t>{}</t></is></c>", "9".repeat(600 << 10)).repeat(2)
    );
    let found = lines(&packed(&parts), &ReadOptions::default());
    assert!(found[0].contains("the row at line 3 is longer"), "{found:?}");
    parts[5].1 = format!("<worksheet><!--{}--><sheetData/></worksheet>", "<".repeat(RECORD_BYTES_MAX * 2));
    let found = lines(&packed(&parts), &ReadOptions::default());
    assert!(found[0].contains("a cell of more than 1 MB"), "{found:?}");
    let mut styles = workbook("");
    styles[3].1 = format!("<styleSheet><cellXfs>{}</cellXfs></styleSheet>", "<xf/>".repeat(4 << 20));
    let found = lines(&packed(&styles), &ReadOptions::default());
    assert!(found[0].contains("unpacked"), "{found:?}");
}

#[test]
fn damaged_workbooks_never_panic() {
    let row = sheet_row(3, &[("r=\"B3\" t=\"s\"", "<v>2</v>"), ("r=\"E3\" s=\"1\"", "<v>46054</v>")]);
    let parts = workbook(&format!("{SHEET_HEADER}{row}"));
    let whole = packed(&parts);
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        lines(&bytes, &ReadOptions::default());
        lines(&whole[..at], &ReadOptions::default());
    }
    // The archive whole, and its parts damaged.
    for part in 0..parts.len() {
        for at in (0..parts[part].1.len()).step_by(5) {
            let mut parts = parts.clone();
            let mut text = parts[part].1.clone().into_bytes();
            text[at] = b"<>\"/9Z& "[at % 8];
            parts[part].1 = String::from_utf8_lossy(&text).into_owned();
            lines(&packed(&parts), &ReadOptions::default());
        }
    }
}

// Headers.

#[test]
fn columns_are_reported() {
    let text = "Start,END,operator,note,colour,\n+33105600000,+33105600099,FRTE,x,y,\n";
    let outcome = read_all(text.as_bytes(), &mapped(&["Operator=account_auth_id", "NOTE=-"]));
    let header = outcome.header.expect("a header");
    assert_eq!(header.format, FileFormat::Csv { delimiter: b',' });
    let columns: Vec<(&str, Field)> = header.columns.iter().map(|(name, field)| (name.as_str(), *field)).collect();
    assert_eq!(columns, [("Start", Field::Number), ("END", Field::NumberEnd), ("operator", Field::AccountAuthId)]);
    assert_eq!(header.unknown, ["colour"]);
    assert_eq!(show(&outcome.items[0]), ["2: +33105600000-+33105600099 account_auth_id=FRTE"]);

    let text =
        "{\"number\":\"+912271264217\",\"id\":{\"a\":[true]},\"note\":1}\n{\"colour\":2,\"number\":\"+912271264218\"}";
    let outcome = read_all(text.as_bytes(), &mapped(&["note=-", "absent=region"]));
    assert_eq!(outcome.header.expect("a header").format, FileFormat::Ndjson);
    let summary = outcome.result.expect("readable");
    assert_eq!((summary.rows, summary.bytes), (2, text.len() as u64));
    assert_eq!(summary.unknown, ["id", "colour"]);
    assert_eq!(summary.unmapped, ["absent"]);
}

#[test]
fn a_header_must_name_the_numbers_and_each_field_once() {
    check(
        "fon,status\n",
        &[
            "unusable: no column is called number; name it with --map COLUMN=number, where the columns are \"fon\", \"status\"",
        ],
    );
    check("+912271264217,active\n", &["unusable: the first line looks like a row"]);
    check(
        "number,START\n",
        &["unusable: columns \"number\" and \"START\" both say number; ignore one of them with --map 'START=-'"],
    );
    check("number,note,note\n+912271264217,a,b\n", &["2: +912271264217"]);
    check_with(&mapped(&["did=number"]), "number,did\n", &["unusable: columns \"number\" and \"did\" both say number"]);
    check_with(&mapped(&["did=number", "number=-"]), "number,did\n7,+912271264217\n", &["2: +912271264217"]);
    check_with(
        &mapped(&["dud=region"]),
        "number,did\n",
        &["unusable: there is no column \"dud\" to map; the file's columns are \"number\", \"did\""],
    );
    check_with(&mapped(&["a=region", "A=-"]), "number,a\n", &["unusable: column \"A\" is mapped twice"]);
    let both = ReadOptions { assume_plus: true, default_country: "FR".parse().ok(), ..ReadOptions::default() };
    check_with(&both, "number\n", &["unusable: digits without + cannot be both"]);
    check("\"monthly\r\nprice\",number\n1,+912271264217\n", &["3: +912271264217"]);
}

// Rows.

#[test]
fn absent_empty_and_value_are_three_things() {
    let outcome = read_all(&b"number,region,tags\n+912271264217,,a|b\n"[..], &ReadOptions::default());
    let FileItem::Row(row) = &outcome.items[0] else { panic!("a row: {:?}", outcome.items[0]) };
    assert_eq!(row.fields.country, Cell::Absent);
    assert_eq!(row.fields.region, Cell::Empty);
    assert_eq!(row.fields.tags, Cell::Value(Tags::new(["a", "b"])));

    let text = "{\"number\":\"+912271264217\",\"region\":\"x\",\"state\":\"active\",\"tags\":[\"a\"]}\n\
                {\"number\":\"+912271264218\",\"region\":null,\"tags\":\"b;c\"}\n\
                {\"number\":\"+912271264219\",\"region\":\"x\"}\n";
    check(
        text,
        &[
            "1: +912271264217 state=active region=x tags=a",
            "2: +912271264218 region= tags=b;c",
            "3: +912271264219 region=x",
        ],
    );
}

#[test]
fn blocks_are_one_cell_or_two() {
    check(
        "number,number_end\n+912271264200,+912271264299\n+912271264200-+912271264299,\n+912271264217,\n",
        &["2: +912271264200-+912271264299", "3: +912271264200-+912271264299", "4: +912271264217"],
    );
    check(
        "start;end\n+912271264299;+912271264200\n;+912271264200\n+912271264200-+912271264299;+912271264300\n\
         +99999999;+100000000\n+910000000000;+919999999999\n+912271264200;x\n+912271264299-+912271264200;\n",
        &[
            "2: bad x1 end=\"+912271264200\" the block's first number +912271264299 is after its last",
            "3: bad x1 start=\"\" is missing; the row has only the end",
            "4: bad x1 end=\"\" is there although a cell is a block already",
            "5: bad x1 end=\"+100000000\" +99999999 and +100000000 have different numbers of digits",
            "6: bad x1 end=\"+919999999999\" the block has 10000000000 numbers",
            "7: bad x1 end=\"x\" must be + and 7 to 15 digits",
            "8: bad x1 start=\"+912271264299-+912271264200\" the block's first number",
        ],
    );
}

#[test]
fn a_bad_row_says_all_that_is_wrong_and_hides_no_other() {
    check(
        "Number,Number_End,Status,Expires_At,Monthly_Cost,Currency,country\n\
         +912271264200,+912271264299,on,02/03/2026,₹500,XAU,in\n\
         +912271264217,,active,,500.00,INR,IN\n",
        &[
            "2: bad x100 Status=\"on\" must be active or suspended",
            "2: bad x100 Expires_At=\"02/03/2026\" could be more than one day; write a day as 2026-02-01",
            "2: bad x100 Monthly_Cost=\"₹500\" must be a plain decimal amount",
            "2: bad x100 Currency=\"XAU\" must be a currency of ISO 4217 with a minor unit",
            "2: bad x100 country=\"in\" must be a country code of two capital letters",
            "3: +912271264217 status=active monthly_cost=500.00 currency=INR expires_at= country=IN",
        ],
    );
}

#[test]
fn a_repeated_bad_cell_is_bad_again() {
    check(
        "number,status\n+912271264217,on\n+912271264218,on\n+912271264219,active\n+912271264220,on\n",
        &["2: bad x1 status", "3: bad x1 status", "4: +912271264219 status=active", "5: bad x1 status"],
    );
}

#[test]
fn costs_fit_their_currency() {
    check(
        "number,monthly_cost,currency\n+912271264217,500.00,INR\n+912271264218,500.00,JPY\n+912271264219,500.00,JPY\n\
         +912271264220,500,JPY\n+912271264221,1.2345,\n",
        &[
            "2: +912271264217 monthly_cost=500.00 currency=INR",
            "3: bad x1 monthly_cost=\"500.00\" has decimals, and JPY has none",
            "4: bad x1 monthly_cost=\"500.00\" has decimals, and JPY has none",
            "5: +912271264220 monthly_cost=500 currency=JPY",
            "6: +912271264221 monthly_cost=1.2345 currency=",
        ],
    );
    let yen = ReadOptions { currency: "JPY".parse().ok(), ..ReadOptions::default() };
    let text = "{\"number\":\"+912271264217\",\"monthly_cost\":500.00}\n{\"number\":\"+912271264217\",\"monthly_cost\":1e3}\n\
                {\"number\":\"+912271264217\",\"monthly_cost\":\"5.25\",\"currency\":\"INR\"}\n{\"number\":\"+912271264217\",\"monthly_cost\":-5}";
    check_with(
        &yen,
        text,
        &[
            "1: bad x1 monthly_cost=\"500.00\" has decimals, and JPY has none",
            "2: bad x1 monthly_cost=\"1e3\" must be a plain decimal amount",
            "3: +912271264217 monthly_cost=5.25 currency=INR",
            "4: bad x1 monthly_cost=\"-5\" must not be negative",
        ],
    );
}

#[test]
fn a_row_without_number_is_about_an_account() {
    check(
        "number,account_auth_id,account_name,state\n,MA_1,One,no_number\n,,,no_number\n+912271264217,MA_1,,no_number\n,MA_1,,\n\
         +912271264217,MA_1,,active\n,MA_1,,retired\n",
        &[
            "2: no number account_auth_id=MA_1 account_name=One",
            "3: bad x1 account_auth_id=\"\" is missing",
            "4: bad x1 state=\"no_number\" cannot be the state of a row with a number",
            "5: bad x1 number=\"\" is missing; an account without numbers has the state no_number",
            "6: +912271264217 account_auth_id=MA_1 account_name= state=active",
            "7: bad x1 state=\"retired\" is history",
        ],
    );
    check(
        "{\"account_auth_id\":\"MA_1\",\"state\":\"no_number\"}\n{\"account_auth_id\":\"MA_1\"}",
        &["1: no number account_auth_id=MA_1", "2: bad x1 number=\"\" is missing"],
    );
}

#[test]
fn a_record_has_as_many_cells_as_the_header() {
    check(
        "number;status\n+912271264217\n+912271264218;active;x\n+912271264219;active\n",
        &[
            "2: bad x1 =\"+912271264217\" has 1 cells where the header has 2; quote a cell that has a semicolon in it",
            "3: bad x1 =\"+912271264218;active;x\" has 3 cells where the header has 2",
            "4: +912271264219 status=active",
        ],
    );
}

#[test]
fn lines_are_those_of_the_file() {
    check(
        "\n\nnumber,status,note\n\n+912271264217,active,\"a\nb\r\nc\"\n\n+912271264218,active,\n",
        &["5: +912271264217", "9: +912271264218"],
    );
}

#[test]
fn json_cells_have_their_type() {
    check(
        "{\"number\":\"+912271264217\",\"region\":\"Z\\u00fcrich\\n\",\"trunk_id\":42}\n\
         {\"number\":\"+912271264217\",\"region\":true,\"account_name\":{\"a\":1},\"status\":[]}\n\
         {\"number\":\"+912271264217\",\"region\":\"\\ud800\"}\n\
         {\"number\":912271264217}\n\
         {\"number\":\"+912271264217\",\"number\":\"+912271264218\",\"x\":1,\"x\":2}\n\
         {\"number\":\"+912271264217\",\"Start\":\"+912271264218\"}\n\
         [1]\n\
         {\"number\":\"+912271264217\"\n\
         {\"number\":\"+912271264217\"} {}\n\
         {\"number\":\"+912271264217\",\"tags\":{}}\n",
        &[
            "1: +912271264217 trunk_id=42 region=Zürich",
            "2: bad x1 region=\"true\" must be text, not true or false",
            "2: bad x1 account_name=\"{\\\"a\\\":1}\" must be text, not an object",
            "2: bad x1 status=\"[]\" must be text, not an array",
            "3: bad x1 region=\"\\\"\\\\ud800\\\"\" has an escape that stands for no character",
            "4: bad x1 number=\"912271264217\" has no +",
            "5: bad x1 number=\"\" is there twice in the row",
            "5: bad x1 x=\"\" is there twice in the row",
            "6: bad x1 Start=\"\" says number as \"number\" does; keep one of them",
            "7: bad x1 =\"[1]\" must be a JSON object",
            "8: bad x1 =\"{\\\"number\\\":\\\"+912271264217\\\"\" is not JSON at column",
            "9: bad x1 =\"{\\\"number\\\":\\\"+912271264217\\\"} {}\" is not JSON at column 28: trailing characters",
            "10: bad x1 tags=\"{}\" must be text, not an object",
        ],
    );
    let plus = ReadOptions { assume_plus: true, ..ReadOptions::default() };
    check_with(&plus, "[{\"number\":912271264217}]", &["1: +912271264217"]);
}

#[test]
fn broken_json_is_refused_by_line_and_column() {
    for (text, expected) in [
        (
            "{\n\"number\": \"+912271264217\"\n}\n",
            "line 1, column 1: EOF while parsing an object; each row must be one object on one line",
        ),
        ("[{\"number\":\"+912271264217\"},\n  {\"number\" \"x\"}]", "line 2, column 13: expected `:`"),
        ("[{}\n {}]", "line 2, column 2: expected `,` or `]`"),
        ("[{},]", "line 1, column 5: expected a value"),
        ("[{}", "line 1, column 4: the array is not closed; is the file complete?"),
        ("[{}]\n;", "line 2, column 1: expected the end, or another answer or array"),
        ("{\"data\":[{}],\"meta\":{\"total\" 3}}", "column 30: expected `:`"),
        ("{\"data\":[],\"data\":[]}", "the answer has rows twice, again under \"data\""),
        ("{\"data\":[]", "the object is not closed"),
        ("[]{\"meta\":{}}", "the answer has no array of rows, such as \"data\""),
        ("[]{\"data\":{}}", "\"data\" must be an array of rows"),
    ] {
        let found = lines(text.as_bytes(), &ReadOptions::default());
        assert!(found[0].starts_with("unusable: not JSON at ") && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn rows_that_say_the_same_share_their_fields() {
    let text = "number,account_auth_id\n+912271264217,MA_1\n+912271264218,MA_1\n+912271264219,x/y\n+912271264220,MA_1\n+912271264221,MA_2\n";
    let outcome = read_all(text.as_bytes(), &ReadOptions::default());
    let fields = |at: usize| match &outcome.items[at] {
        FileItem::Row(row) => Arc::clone(&row.fields),
        FileItem::Bad { .. } => panic!("a row"),
    };
    assert!(Arc::ptr_eq(&fields(0), &fields(1)));
    assert!(Arc::ptr_eq(&fields(0), &fields(3)), "a bad row between makes no difference");
    assert_ne!(fields(0), fields(4));
}

#[test]
fn reading_stops_when_told() {
    let mut seen = 0;
    let text = "number\n+912271264217\n+912271264218\n+912271264219\n";
    let summary = read(text.as_bytes(), &ReadOptions::default(), &mut |_| {}, &mut |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, summary.expect("readable").rows), (2, 2));
}

#[test]
fn an_error_is_json_in_this_order() {
    let error = RowError { line: 2, column: "a".into(), value: "b".into(), message: "c".into() };
    let json = serde_json::to_string(&error).expect("text");
    assert_eq!(json, r#"{"line":2,"column":"a","value":"b","message":"c"}"#);
}

// Limits.

/// The same bytes again and again.
struct Endless {
    chunk: &'static [u8],
    left: u64,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.chunk.len().min(out.len()).min(self.left.try_into().unwrap_or(usize::MAX));
        out[..len].copy_from_slice(&self.chunk[..len]);
        self.left -= len as u64;
        Ok(len)
    }
}

#[test]
fn a_record_is_bounded() {
    for (head, chunk) in [
        ("number\n\"", &b"aaaaaaaaaaaaaaaa\n"[..]),
        ("number\n", b"+912271264217 "),
        ("", b"x,"),
        ("{\"number\":\"", b"a"),
        ("[{\"number\":\"", b"a"),
        ("[{\"number\":", b"[],"),
        ("{\"data\":[{\"a\":", b"1"),
        ("[", b"1"),
    ] {
        let input = head.as_bytes().chain(Endless { chunk, left: 1 << 40 });
        let error = read_all(input, &ReadOptions::default()).result.expect_err("endless");
        assert!(matches!(error, IntakeError::RecordLong { .. }), "{head}: {error}");
    }
    let open = lines(b"number,status\n+912271264217,\"active\n+912271264218,active\n", &ReadOptions::default());
    assert!(open[0].starts_with("unusable: a quote opened in the row at line 2 is never closed"), "{open:?}");
}

#[test]
fn columns_and_depth_are_bounded() {
    let many: String = (0..=COLUMNS_MAX).map(|at| format!(",c{at}")).collect();
    assert!(lines(format!("number{many}\n").as_bytes(), &ReadOptions::default())[0].contains("more than 1000 columns"));
    let keys: String = (0..=COLUMNS_MAX).map(|at| format!("{{\"c{at}\":1}}\n")).collect();
    assert!(lines(keys.as_bytes(), &ReadOptions::default())[0].contains("more than 1000 columns"));
    let long = "c".repeat(COLUMN_BYTES_MAX + 1);
    assert!(
        lines(format!("number,{long}\n").as_bytes(), &ReadOptions::default())[0].contains("a column name of more than")
    );
    assert!(
        lines(format!("{{\"{long}\":1}}").as_bytes(), &ReadOptions::default())[0]
            .contains("a column name of more than")
    );
    let deep = format!("[{{\"a\":{}{}}}]", "[".repeat(100_000), "]".repeat(100_000));
    assert!(lines(deep.as_bytes(), &ReadOptions::default())[0].contains("nested deeper than 64"));
    let deep = format!("{{\"tags\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(lines(deep.as_bytes(), &ReadOptions::default())[0].contains("must be an array of texts"));
}

#[test]
fn a_bomb_of_blank_lines_costs_time_only() {
    let packed = gzip(&[b"number\n", &vec![b'\n'; 32 << 20], b"+912271264217\n"]);
    assert!(packed.len() < 1 << 20);
    assert_eq!(lines(&packed, &ReadOptions::default()), ["33554434: +912271264217"]);
}

// Extraction.

#[track_caller]
fn check_extract(bytes: &[u8], options: &ReadOptions, wanted: &[u64], expected: &str) {
    let mut out = Vec::new();
    extract(bytes, options, wanted, &mut out).expect("readable");
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn rows_are_extracted_as_they_were() {
    let text = "Number;note\r\n+912271264217;\"a\r\n;b\"\r\nx;y\r\n\r\nz;\"q\"\"\"";
    check_extract(
        text.as_bytes(),
        &ReadOptions::default(),
        &[2, 6],
        "Number;note\r\n+912271264217;\"a\r\n;b\"\r\nz;\"q\"\"\"\n",
    );
    check_extract(text.as_bytes(), &ReadOptions::default(), &[], "Number;note\r\n");
    check_extract(&gzip(&[text.as_bytes()]), &ReadOptions::default(), &[4], "Number;note\r\nx;y\r\n");
    check_extract(b"{\"a\":1}\n\n{\"a\": 2}\n{", &ReadOptions::default(), &[3, 4], "{\"a\": 2}\n{\n");
    let answer = "{\"data\": [\n {\"a\": 1.00},\n {\"a\": \" x \\\" \",\n  \"a\": [1, 2]}], \"meta\": {}}";
    check_extract(answer.as_bytes(), &ReadOptions::default(), &[2], "{\"a\":\" x \\\" \",\"a\":[1,2]}\n");

    let windows = ReadOptions { encoding: Some(encoding_rs::WINDOWS_1252), ..ReadOptions::default() };
    check_extract(b"number,name\n1,Caf\xe9\n", &windows, &[2], "\u{feff}number,name\n1,Café\n");
}

#[test]
fn extracted_rows_are_as_wrong_as_before() {
    let csv = "number,note,status\n+912271264217,a,on\n+912271264218,\"b\n\",active\n+912271264219,\"c\nc\",off\n1,2\n";
    let json =
        "[{\"number\":\"+912271264217\",\"status\":\"on\"},{\"number\":\"+912271264218\"},\n{\"status\":\n\"off\"}]";
    for text in [csv, json, &json[1..json.len() - 1].replace('\n', "").replace("},", "}\n")] {
        let wrong = |bytes: &[u8]| -> (Vec<u64>, Vec<(String, String, String)>) {
            let (mut places, mut errors) = (Vec::new(), Vec::new());
            for item in read_all(bytes, &ReadOptions::default()).items {
                if let FileItem::Bad { line, errors: found, .. } = item {
                    places.push(line);
                    errors.extend(found.into_iter().map(|error| (error.column, error.value, error.message)));
                }
            }
            (places, errors)
        };
        let (places, before) = wrong(text.as_bytes());
        assert!(places.len() >= 2, "{text}");
        let mut out = Vec::new();
        extract(text.as_bytes(), &ReadOptions::default(), &places, &mut out).expect("readable");
        assert_eq!(wrong(&out).1, before, "{text}");
    }
}

// Properties.

fn cell<T: fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Cell<T>> {
    prop_oneof![Just(Cell::Absent), Just(Cell::Empty), value.prop_map(Cell::Value)]
}

fn name() -> impl Strategy<Value = Arc<str>> {
    "[A-Za-z0-9,;\"'é|\\\\{}-]( ?[A-Za-z0-9,;\"'é|\\\\{}-]){0,12}".prop_map(|text| text.into())
}

fn id<T: std::str::FromStr<Err: fmt::Debug> + fmt::Debug>() -> impl Strategy<Value = T> {
    "[A-Z]{2}_[a-z0-9,;\"]{1,6}".prop_map(|text| text.parse().expect("an id"))
}

fn time() -> impl Strategy<Value = Time> {
    (0..4_102_444_800_i64).prop_map(|seconds| Time::new(seconds).expect("in range"))
}

fn numbers() -> impl Strategy<Value = RowNumbers> {
    let block = (1_000_000..999_999_999_900_000_u64, 1..100_u64).prop_filter_map("one length", |(first, more)| {
        let numbers = RowNumbers::Block { first: E164::new(first)?, last: E164::new(first + more)? };
        (first.ilog10() == (first + more).ilog10()).then_some(numbers)
    });
    let one = (1_000_000..=999_999_999_999_999_u64).prop_map(|digits| {
        let number = E164::new(digits).expect("in range");
        RowNumbers::Block { first: number, last: number }
    });
    prop_oneof![4 => one, 2 => block, 1 => Just(RowNumbers::None)]
}

fn fields() -> impl Strategy<Value = RowFields> {
    let money = prop_oneof![
        Just((Cell::Value("500.00".into()), Cell::Value("INR"))),
        Just((Cell::Value("500".into()), Cell::Value("JPY"))),
        Just((Cell::Value("1.2500".into()), Cell::Empty)),
        Just((Cell::Empty, Cell::Value("KWD"))),
        Just((Cell::Absent, Cell::Absent)),
    ];
    let tag = "[a-zé][a-z é]{0,5}[a-z]";
    let whose = (cell(id()), cell(name()), cell(id()), cell(name()), cell(id()), cell(id()));
    let words = (
        cell(prop::sample::select(Status::ALL)),
        cell(prop::sample::select(State::STORED)),
        cell(prop::sample::select(NumberType::ALL)),
        cell(prop::sample::select(vec!["IN", "FR", "XK"])),
        cell(name()),
        cell(prop::collection::vec(tag, 1..4)),
        cell(any::<bool>()),
    );
    let times = (cell(time()), cell(time()), cell(time()), cell(time()), cell(time()));
    (whose, money, words, times).prop_map(|(whose, (cost, currency), words, times)| RowFields {
        account: whose.0,
        account_name: whose.1,
        application: whose.2,
        application_name: whose.3,
        trunk: whose.4,
        reserved_for: whose.5,
        cost,
        currency: parsed(currency),
        status: words.0,
        blocked: words.6,
        state: words.1,
        number_type: words.2,
        country: parsed(words.3),
        region: words.4,
        tags: match words.5 {
            Cell::Value(tags) => Cell::Value(Tags::new(tags)),
            Cell::Empty => Cell::Empty,
            Cell::Absent => Cell::Absent,
        },
        assigned_at: times.0,
        expires_at: times.1,
        quarantine_ends_at: times.2,
        reserved_until: times.3,
        since: times.4,
    })
}

fn parsed<T: std::str::FromStr<Err: fmt::Debug>>(cell: Cell<&str>) -> Cell<T> {
    match cell {
        Cell::Absent => Cell::Absent,
        Cell::Empty => Cell::Empty,
        Cell::Value(text) => Cell::Value(text.parse().expect("well formed")),
    }
}

/// Rows with runs of equal fields, as files have them.
fn file() -> impl Strategy<Value = Vec<(RowNumbers, RowFields)>> {
    let row = (numbers(), any::<bool>(), fields());
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        let mut file: Vec<(RowNumbers, RowFields)> = Vec::new();
        for (numbers, repeat, mut fields) in rows {
            if let Some((_, last)) = file.last().filter(|_| repeat) {
                fields = last.clone();
            }
            if numbers == RowNumbers::None {
                fields.state = Cell::Absent;
                fields.account = Cell::Value("MA_1".parse().expect("an id"));
            }
            file.push((numbers, fields));
        }
        file
    })
}

/// The rows as CSV says them: every column is there.
fn without_absent(rows: &[(RowNumbers, RowFields)]) -> Vec<(RowNumbers, RowFields)> {
    fn full<T>(cell: &mut Cell<T>) {
        if matches!(cell, Cell::Absent) {
            *cell = Cell::Empty;
        }
    }
    let mut rows = rows.to_vec();
    for (numbers, fields) in &mut rows {
        full(&mut fields.account);
        full(&mut fields.account_name);
        full(&mut fields.application);
        full(&mut fields.application_name);
        full(&mut fields.trunk);
        full(&mut fields.status);
        full(&mut fields.blocked);
        if *numbers != RowNumbers::None {
            full(&mut fields.state);
        }
        full(&mut fields.cost);
        full(&mut fields.currency);
        full(&mut fields.assigned_at);
        full(&mut fields.expires_at);
        full(&mut fields.number_type);
        full(&mut fields.country);
        full(&mut fields.region);
        full(&mut fields.tags);
        full(&mut fields.quarantine_ends_at);
        full(&mut fields.reserved_until);
        full(&mut fields.reserved_for);
        full(&mut fields.since);
    }
    rows
}

fn reread(bytes: &[u8]) -> Vec<(RowNumbers, RowFields)> {
    let outcome = read_all(bytes, &ReadOptions::default());
    let summary = outcome.result.expect("what was written can be read");
    assert_eq!(summary.rows, outcome.items.len() as u64);
    let row = |item| match item {
        FileItem::Row(FileRow { numbers, fields, .. }) => (numbers, RowFields::clone(&fields)),
        FileItem::Bad { errors, .. } => panic!("{errors:?}"),
    };
    outcome.items.into_iter().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn csv_says_what_was_written(rows in file(), delimiter in prop::sample::select(vec![b',', b';', b'\t']), crlf: bool) {
        let bytes = as_csv(&rows, delimiter, crlf);
        prop_assert_eq!(reread(&bytes), without_absent(&rows));
        prop_assert_eq!(reread(&gzip(&[&bytes])), without_absent(&rows));
    }

    #[test]
    fn json_says_what_was_written(rows in file()) {
        let json: Vec<serde_json::Value> = rows.iter().map(|(numbers, fields)| as_json(*numbers, fields)).collect();
        let answer = serde_json::json!({"data": json, "meta": {"total": json.len(), "page": 1, "per_page": 20}});
        prop_assert_eq!(&reread(answer.to_string().as_bytes()), &rows);
        prop_assert_eq!(&reread(serde_json::to_string_pretty(&answer).expect("text").as_bytes()), &rows);
        prop_assert_eq!(&reread(serde_json::to_string_pretty(&json).expect("text").as_bytes()), &rows);
        if !rows.is_empty() {
            let lines: String = json.iter().map(|row| format!("{row}\n")).collect();
            prop_assert_eq!(&reread(lines.as_bytes()), &rows);
        }
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(&bytes);
    }

    #[test]
    fn any_text_after_a_header_ends(text in "[+0-9,;\"\n{}a-e:.\\[\\] -]{0,200}") {
        exercise(format!("number,status\n{text}").as_bytes());
        exercise(format!("[{text}").as_bytes());
        exercise(format!("{{\"number\":{text}").as_bytes());
    }
}

/// Reads and extracts whatever this is, and checks what always holds.
fn exercise(bytes: &[u8]) {
    let plus = ReadOptions { assume_plus: true, currency: "INR".parse().ok(), ..ReadOptions::default() };
    let windows = ReadOptions { encoding: Some(encoding_rs::WINDOWS_1252), ..ReadOptions::default() };
    for options in [ReadOptions::default(), plus, windows] {
        let outcome = read_all(bytes, &options);
        let places: Vec<u64> = outcome
            .items
            .iter()
            .map(|item| match item {
                FileItem::Row(row) => row.line,
                FileItem::Bad { line, .. } => *line,
            })
            .collect();
        assert!(places.is_sorted_by(|a, b| a < b), "each row has its own place");
        let whole = outcome.result.is_ok();
        let mut out = Vec::new();
        let extracted = extract(bytes, &options, &places, &mut out);
        assert!(!whole || extracted.is_ok(), "what can be read can be extracted");
    }
}

/// A small generator, so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

#[test]
fn damaged_files_never_panic() {
    let csv = "number,number_end,status,monthly_cost,currency,tags,expires_at,account_name\n\
               +912271264217,,active,500.00,INR,a;b,2026-02-01T10:00:00Z,\"A, \"\"B\"\"\"\n\
               +912271264300,+912271264399,suspended,1,INR,,,Café\r\n";
    let ndjson = "{\"number\":\"+912271264217\",\"monthly_cost\":500.00,\"tags\":[\"a\"],\"region\":\"\\u00e9\"}\n\
                  {\"number\":912271264217,\"state\":\"active\",\"expires_at\":null}\n";
    let json = "{\"meta\":{\"a\":[1,{}]},\"data\":[\n{\"number\":\"+912271264217-+912271264299\"},{\"number\":null}],\"b\":\"\\\"\"}";
    let seeds: Vec<Vec<u8>> = vec![
        csv.into(),
        csv.replace(',', ";").into(),
        ndjson.into(),
        json.into(),
        gzip(&[csv.as_bytes(), ndjson.as_bytes()]),
    ];
    let pieces: &[&[u8]] =
        &[b"\"", b"\n", b",", b"{", b"}", b"[", b"]", b"\\", b"\xff", b"\0", b"+", b"-", b"e", b"\xef\xbb\xbf", b"\r"];

    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let mut bytes = seeds[dice.roll(seeds.len())].clone();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(bytes.len());
            match dice.roll(5) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.roll(8),
                1 => bytes.truncate(at),
                2 => drop(bytes.drain(at..(at + dice.roll(9)).min(bytes.len()))),
                3 => drop(bytes.splice(at..at, bytes[at..(at + dice.roll(40)).min(bytes.len())].to_vec())),
                _ => drop(bytes.splice(at..at, pieces[dice.roll(pieces.len())].iter().copied())),
            }
        }
        exercise(&bytes);
    }
}

/// Files arrive in pieces of any size.
#[test]
fn pieces_make_no_difference() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            (&mut self.0).take(1).read(out)
        }
    }
    let long = format!("number,note\n+912271264217,\"{}\"\n+912271264218,é\n", "é\n".repeat(200_000));
    for text in [long.as_str(), "[{\"number\":\"+912271264217\"} , {\"number\":\"+912271264218\"}]"] {
        let whole = read_all(text.as_bytes(), &ReadOptions::default());
        let pieces = read_all(Trickle(text.as_bytes()), &ReadOptions::default());
        assert_eq!(whole.items.len(), 2);
        assert_eq!(whole.items, pieces.items);
    }
}

// Real files, where they are.

fn data(name: &str) -> Option<std::fs::File> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("ROLLCALL_DATA").map_or_else(beside, PathBuf::from).join(name);
    let file = std::fs::File::open(&path).ok();
    if file.is_none() {
        eprintln!("skipped: there is no {}; set ROLLCALL_DATA to the folder of real data", path.display());
    }
    file
}

#[test]
fn the_french_blocks_are_read_whole() {
    let Some(file) = data("blocks_fr_arcep.csv.gz") else {
        return;
    };
    // Some blocks are of a type that is none of ours.
    let outcome = read_all(file, &mapped(&["operator=account_auth_id", "number_type=-"]));
    let summary = outcome.result.expect("readable");
    assert_eq!(summary.rows, 18_793);
    assert_eq!(summary.unknown, ["block_status", "allocated_on"]);
    let (mut numbers, mut operators) = (0, BTreeSet::new());
    for item in outcome.items {
        let FileItem::Row(row) = item else { panic!("a row: {item:?}") };
        numbers += row.numbers.count();
        operators.insert(row.fields.account.value().expect("an operator").clone());
    }
    assert_eq!((numbers, operators.len()), (424_270_000, 427));
}

#[test]
fn the_regulators_own_file_is_read_with_its_encoding_and_country() {
    let mappings =
        ["Tranche_Debut=number", "Tranche_Fin=number_end", "Mnémo=account_auth_id", "Territoire=region", "EZABPQM=-"];
    let Some(file) = data("fr_arcep_majnum.csv") else {
        return;
    };
    let error = read_all(file, &mapped(&mappings[..2])).result.expect_err("not UTF-8");
    assert!(matches!(error, IntakeError::NotUtf8 { line: 1 }), "{error}");

    let options = ReadOptions {
        encoding: Some(encoding_rs::WINDOWS_1252),
        default_country: "FR".parse().ok(),
        ..mapped(&mappings)
    };
    let outcome = read_all(data("fr_arcep_majnum.csv").expect("it was there"), &options);
    assert_eq!(outcome.header.expect("a header").unknown, ["Date_Attribution"]);
    assert_eq!(outcome.result.expect("readable").rows, 19_096);
    let first = "2: +33105600000-+33105699999 account_auth_id=FRTE region=Métropole";
    assert_eq!(show(&outcome.items[0]), [first]);
    let bad = outcome.items.iter().filter(|item| matches!(item, FileItem::Bad { .. })).count();
    assert_eq!(bad, 303, "the short and the machine-to-machine numbers");
}

/// `cargo test --release intake -- --ignored --nocapture` tells the speed.
#[test]
#[ignore = "a measurement"]
fn a_million_rows() {
    let mut csv = String::from(
        "number,account_auth_id,account_name,application_id,trunk_id,status,monthly_cost,currency,assigned_at,region\n",
    );
    let mut json = String::new();
    for at in 0..1_000_000_u64 {
        use std::fmt::Write;
        let (number, account, second) = (912_200_000_000 + at * 7, at / 1_000, at % 60);
        writeln!(csv, "+{number},MA_{account:06},Account {account},app_{},trunk_1,active,500.00,INR,2026-02-01T10:00:{second:02}Z,Mumbai", account % 7)
            .expect("memory");
        writeln!(json, "{{\"number\":\"+{number}\",\"account_auth_id\":\"MA_{account:06}\",\"account_name\":\"Account {account}\",\"application_id\":\"app_{}\",\"trunk_id\":\"trunk_1\",\"status\":\"active\",\"monthly_cost\":500.00,\"currency\":\"INR\",\"assigned_at\":\"2026-02-01T10:00:{second:02}Z\",\"region\":\"Mumbai\"}}", account % 7)
            .expect("memory");
    }
    let array = format!("[{}]", json.trim_end().replace('\n', ","));
    let packed = gzip(&[csv.as_bytes()]);
    for (name, bytes) in
        [("CSV", csv.as_bytes()), ("gzip", &packed), ("NDJSON", json.as_bytes()), ("JSON", array.as_bytes())]
    {
        let begin = Instant::now();
        let mut good = 0_u64;
        let summary = read(bytes, &ReadOptions::default(), &mut |_| {}, &mut |item| {
            good += u64::from(matches!(item, FileItem::Row(_)));
            ControlFlow::Continue(())
        });
        assert_eq!((good, summary.expect("readable").rows), (1_000_000, 1_000_000));
        println!("{name}: {} MB in {:?}", bytes.len() >> 20, begin.elapsed());
    }
}
