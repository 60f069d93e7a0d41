//! Places that people call by several names: the numbering data says New Delhi,
//! the specification Delhi, old lists Bombay.
//!
//! A filter for one name finds the others. What is stored stays as it was said.
//! Deliberately absent: names within names. The part before a comma is a place
//! of its own often enough.

/// The names of each place, those of the numbering data first.
const PLACES: [&[&str]; 20] = [
    &["New Delhi", "Delhi"],
    &["Mumbai", "Bombay", "Mumbai, Maharashtra"],
    &["Bangalore, Karnataka", "Bangalore", "Bengaluru", "Bengaluru, Karnataka"],
    &["Chennai, Tamil Nadu", "Chennai", "Madras"],
    &["Kolkata, West Bengal", "Kolkata", "Calcutta"],
    &["Pune, Maharashtra", "Pune", "Poona"],
    &["Gurgaon, Haryana", "Gurgaon", "Gurugram"],
    &["Hyderabad", "Hyderabad, Telangana"],
    &["Ahmedabad Local, Gujarat", "Ahmedabad", "Ahmedabad, Gujarat"],
    &["Vadodara, Gujarat", "Vadodara", "Baroda, Gujarat"],
    &["Mysore, Karnataka", "Mysore", "Mysuru"],
    &["Mangalore, Karnataka", "Mangalore", "Mangaluru"],
    &["Kozhikode, Kerala", "Kozhikode", "Calicut"],
    &["Ernakulam, Kerala", "Ernakulam", "Kochi, Kerala", "Cochin"],
    &["Thiruvananthapuram, Kerala", "Thiruvananthapuram", "Trivandrum"],
    &["Pondicherry, Tamil Nadu", "Pondicherry", "Puducherry"],
    &["Allahabad, Uttar Pradesh", "Allahabad", "Prayagraj"],
    &["Kyiv", "Kiev"],
    &["Beijing", "Peking"],
    &["Helsinki", "Helsingfors"],
];

/// All names of the place that has this name, which may be the only one.
pub fn names_of(region: &str) -> impl Iterator<Item = &str> {
    let known = PLACES.iter().find(|names| names.contains(&region)).copied();
    let only = known.is_none().then_some(region);
    known.unwrap_or_default().iter().copied().chain(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_by_each_of_its_names() {
        for (region, expected) in [
            ("Delhi", vec!["New Delhi", "Delhi"]),
            ("New Delhi", vec!["New Delhi", "Delhi"]),
            ("Kiev", vec!["Kyiv", "Kiev"]),
            ("Delhi, NY", vec!["Delhi, NY"]),
            ("delhi", vec!["delhi"]),
            ("Paris", vec!["Paris"]),
            ("", vec![""]),
        ] {
            assert_eq!(names_of(region).collect::<Vec<_>>(), expected, "{region:?}");
        }
    }

    #[test]
    fn the_first_name_is_that_of_the_numbering_data() {
        let known: std::collections::HashSet<&str> =
            super::super::places::all().into_iter().map(|(_, name)| name).collect();
        for names in PLACES {
            assert!(known.contains(names[0]), "{names:?}");
        }
    }

    #[test]
    fn a_name_is_of_one_place() {
        let mut names: Vec<&str> = PLACES.iter().flat_map(|names| names.iter().copied()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]));
    }
}
