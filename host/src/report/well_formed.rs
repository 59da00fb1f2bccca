//! Whether a page is well-formed, for its tests.

/// Checks that tags nest, attributes are quoted, and text holds no bare `<`, `>` or `&`.
pub(super) fn check_well_formed(html: &str) {
    let html = html
        .strip_prefix("<!DOCTYPE html>")
        .expect("a doctype first");
    let (mut open, mut rest): (Vec<&str>, &str) = (Vec::new(), html);
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start], open.last().copied());
        let end = start + rest[start..].find('>').expect("every tag ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<'), "`<` inside a tag: {tag}");
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closing tag");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        check_attributes(tag[name.len()..].trim_end_matches('/'));
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    check_text(rest, None);
    assert!(open.is_empty(), "left open: {open:?}");
}

fn check_text(text: &str, parent: Option<&str>) {
    if parent == Some("style") {
        return;
    }
    assert!(!text.contains('>'), "bare `>` in {text:?}");
    for (i, _) in text.match_indices('&') {
        let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(
            entities.iter().any(|e| text[i..].starts_with(e)),
            "bare `&` in {text:?}"
        );
    }
}

fn check_attributes(attributes: &str) {
    let parts: Vec<&str> = attributes.split('"').collect();
    assert!(parts.len() % 2 == 1, "unpaired quote in {attributes}");
    let (last, pairs) = parts.split_last().unwrap();
    assert_eq!(last.trim(), "", "attribute without a value in {attributes}");
    for pair in pairs.chunks(2) {
        let name = pair[0].trim().strip_suffix('=').expect("name=");
        assert!(
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "{name}"
        );
        check_text(pair[1], None);
        assert!(
            !pair[1].contains("NaN") && !pair[1].contains("inf"),
            "{attributes}"
        );
    }
}
