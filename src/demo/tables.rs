//! Who is in the demo, and from which ranges their numbers come.
//!
//! Invariant: no two ranges overlap, of either partner, and none has a number
//! of [`SAMPLES`].

use crate::domain::NumberType::{self, Local, Mobile, Tollfree};

/// One partner. Its accounts in order: those of the samples are not here.
pub struct PartnerProfile {
    pub auth_id: &'static str,
    pub name: &'static str,
    /// Where the dice begin.
    pub seed: u64,
    /// Rows that are there word for word, before all others.
    pub samples: &'static [Sample],
    /// Accounts like any other.
    pub accounts: &'static [&'static str],
    /// The account whose numbers are all suspended.
    pub suspended: &'static str,
    /// Accounts that have no number.
    pub empty: &'static [&'static str],
    /// Weights sum to 100.
    pub ranges: &'static [Range],
}

pub struct Sample {
    pub first: u64,
    pub last: u64,
    pub account: (&'static str, &'static str),
    pub application: (&'static str, &'static str),
    pub trunk: &'static str,
    pub cost: &'static str,
    pub currency: &'static str,
    pub assigned_at: &'static str,
}

/// Numbers that are given out in ascending order.
pub struct Range {
    pub first: u64,
    pub size: u64,
    /// How many of the partner's numbers are from here, in percent.
    pub weight: u64,
    pub cost: &'static str,
    pub currency: &'static str,
    /// What the numbering plan says that they are.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with the plan"))]
    pub number_type: NumberType,
}

/// A range by its first digits and how many follow.
const fn range(
    number_type: NumberType,
    prefix: u64,
    digits: u32,
    weight: u64,
    cost: &'static str,
    currency: &'static str,
) -> Range {
    let size = 10_u64.pow(digits);
    Range { first: prefix * size, size, weight, cost, currency, number_type }
}

/// A number of the account that the specification asks for.
const CREDRESOLVE: Sample = Sample {
    first: 912_271_264_217,
    last: 912_271_264_217,
    account: ("MA_48149cf4", "Credresolve"),
    application: ("app_abc123", "Main IVR"),
    trunk: "trunk_xyz",
    cost: "500.00",
    currency: "INR",
    assigned_at: "2026-02-01T10:00:00Z",
};

/// A number of the specification's other account.
const ACME: Sample = Sample {
    first: 912_271_264_218,
    last: 912_271_264_218,
    account: ("MA_99ab12c3", "Acme Outbound"),
    application: ("app_def456", "Outbound dialer"),
    assigned_at: "2026-01-15T09:00:00Z",
    ..CREDRESOLVE
};

/// The numbers of the specification's examples, and a few after them, so that
/// its account has the three that its answer counts.
pub const SAMPLES: &[Sample] = &[
    CREDRESOLVE,
    ACME,
    Sample { first: 912_271_264_219, last: 912_271_264_220, ..CREDRESOLVE },
    Sample { first: 912_271_264_221, last: 912_271_264_226, ..ACME },
];

pub const FIRST: PartnerProfile = PartnerProfile {
    auth_id: "PA_DEMO",
    name: "Example Voice Networks",
    seed: 1,
    samples: SAMPLES,
    accounts: &[
        "Northwind Logistics (example)",
        "Example Bank, Retail Division",
        "Kaveri Health Clinics",
        "The \"Blue Door\" Hotels",
        "Sample & Sons Insurance",
        "Contoso Support Centre",
        "Café Exemple, Mumbai",
        "Placeholder Airlines",
        "Globex Field Services",
        "Initech Helpdesk",
        "Umbrella Rentals, Inc.",
        "Fabrikam Solar",
        "サンプル商事",
        "Müller & Söhne Beispiel GmbH",
        "Lorem Ipsum Publishing",
    ],
    suspended: "Dormant Example Trading",
    empty: &["Brand New Example Ltd", "Wide Blank \"Test\" Co., Pune"],
    ranges: &[
        range(Local, 91226, 7, 14, "500.00", "INR"), // Mumbai
        range(Local, 91114, 7, 10, "500.00", "INR"), // New Delhi
        range(Local, 91804, 7, 8, "450.00", "INR"),  // Bengaluru
        range(Mobile, 91982, 7, 9, "650.00", "INR"),
        range(Tollfree, 911800, 6, 4, "1500.00", "INR"),
        range(Local, 33144, 6, 6, "1.50", "EUR"), // Paris
        range(Local, 33491, 6, 3, "1.20", "EUR"), // Marseille
        range(Mobile, 3361, 7, 3, "2.50", "EUR"),
        range(Tollfree, 33800, 6, 2, "15.00", "EUR"),
        range(Local, 44203, 7, 8, "1.25", "GBP"),  // London
        range(Local, 441618, 6, 3, "1.00", "GBP"), // Manchester
        range(Mobile, 44771, 7, 3, "1.75", "GBP"),
        range(Tollfree, 44800, 7, 2, "6.00", "GBP"),
        range(Local, 1212, 7, 6, "1.15", "USD"), // New York
        range(Local, 1415, 7, 5, "1.15", "USD"), // San Francisco
        range(Tollfree, 1888, 7, 3, "2.15", "USD"),
        range(Local, 8133, 7, 6, "450", "JPY"), // Tokyo
        range(Mobile, 81904, 7, 3, "700", "JPY"),
        range(Tollfree, 81120, 6, 2, "2500", "JPY"),
    ],
};

pub const SECOND: PartnerProfile = PartnerProfile {
    auth_id: "PA_DEMO2",
    name: "Specimen Télécom",
    seed: 2,
    samples: &[],
    accounts: &[
        "Boulangerie Exemple, Lyon",
        "Société Fictive d'Assurances",
        "L'Hôtel « Spécimen »",
        "Example Parcel Service",
        "Test & Trial Pharmacies, Ltd",
        "Acme Field Sales",
        "Modèle Énergie",
        "Tokyo Example Trading 株式会社",
        "Sample City Council",
        "Wayside \"24/7\" Towing",
        "Hypothetical Airlines",
        "Garage Échantillon",
        "Dummy Data Dental Care",
        "Proseware Events",
        "Tailspin Example Toys",
        "Œuvre Théorique",
    ],
    suspended: "Paused Specimen Retail",
    empty: &["Just Signed Up (example)", "Vacant Lot, Inc.", "Naïve \"First Try\" Startup"],
    ranges: &[
        range(Local, 33148, 6, 9, "1.60", "EUR"), // Paris
        range(Local, 33556, 6, 5, "1.30", "EUR"), // Bordeaux
        range(Local, 33388, 6, 4, "1.30", "EUR"), // Strasbourg
        range(Mobile, 3376, 7, 5, "2.60", "EUR"),
        range(Tollfree, 33805, 6, 2, "16.00", "EUR"),
        range(Local, 44207, 7, 10, "1.35", "GBP"), // London
        range(Local, 441312, 6, 4, "1.10", "GBP"), // Edinburgh
        range(Mobile, 44791, 7, 4, "1.85", "GBP"),
        range(Tollfree, 44808, 7, 2, "6.50", "GBP"),
        range(Local, 1312, 7, 10, "1.25", "USD"), // Chicago
        range(Local, 1206, 7, 10, "1.25", "USD"), // Seattle
        range(Tollfree, 1877, 7, 5, "2.25", "USD"),
        range(Local, 91224, 7, 7, "520.00", "INR"), // Mumbai
        range(Local, 91444, 7, 4, "480.00", "INR"), // Chennai
        range(Mobile, 91993, 7, 4, "680.00", "INR"),
        range(Local, 8166, 7, 8, "420", "JPY"), // Osaka
        range(Mobile, 81803, 7, 4, "720", "JPY"),
        range(Tollfree, 81800, 7, 3, "2600", "JPY"),
    ],
};

/// What applications are called; an account has the first few from its place.
pub const APPLICATIONS: &[&str] = &[
    "Main IVR",
    "Sales queue",
    "Support 24/7",
    "Accueil général",
    "Appointment reminders",
    "Survey, \"how did we do?\"",
    "Out-of-hours voicemail",
    "受付",
    "Order tracking",
];

pub const TAGS: &[&str] = &["vip", "campaign-2026", "vip;do-not-release", "porting", "réservé;seasonal"];
