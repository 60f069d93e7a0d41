//! The blocks of numbers that France's regulator has allocated, as a file that can
//! be imported: each operator is a customer with an application.
//!
//! They need `../shared/data` or `ROLLCALL_DATA`; an error says that they are absent.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// Neighbouring numbers of one operator.
pub struct Block {
    pub first: u64,
    pub last: u64,
    pub operator: String,
    number_type: &'static str,
    allocated_on: String,
}

impl Block {
    pub fn numbers(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// The first blocks, with at most so many numbers together.
pub fn blocks(most: u64) -> Result<Vec<Block>, String> {
    let data = match std::env::var_os("ROLLCALL_DATA") {
        Some(data) => PathBuf::from(data),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    let path = data.join("blocks_fr_arcep.csv.gz");
    let file =
        File::open(&path).map_err(|error| format!("{}: {error}; ROLLCALL_DATA may name its folder", path.display()))?;
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let mut blocks: Vec<Block> = text.lines().skip(1).filter_map(block).collect();
    blocks.sort_unstable_by_key(|block| block.first);
    let mut numbers = 0;
    blocks.retain(|block| {
        let fits = numbers + block.numbers() <= most;
        numbers += if fits { block.numbers() } else { 0 };
        fits
    });
    Ok(blocks)
}

fn block(line: &str) -> Option<Block> {
    let mut cells = line.split(',');
    let mut number = || cells.next()?.strip_prefix('+')?.parse().ok();
    let (first, last) = (number()?, number()?);
    let number_type = match cells.next()? {
        "mobile" => "mobile",
        "tollfree" => "tollfree",
        _ => "local",
    };
    let operator = cells.next()?.to_owned();
    Some(Block { first, last, operator, number_type, allocated_on: line.rsplit(',').next()?.to_owned() })
}

/// One row a block.
pub fn csv(blocks: &[Block]) -> String {
    let mut text =
        "number,account_auth_id,account_name,application_id,application_name,status,number_type,monthly_cost,\
                    currency,assigned_at\n"
            .to_owned();
    for Block { first, last, operator, number_type, allocated_on } in blocks {
        writeln!(
            text,
            "+{first}..+{last},MA_{operator},Operator {operator},app_{operator},Menu {operator},active,{number_type},\
             0.01,EUR,{allocated_on}T00:00:00Z"
        )
        .expect("memory");
    }
    text
}
