package pages

import (
	"html"
	"net/url"
	"strings"
)

// maxLink is how long an address in a log may be, in bytes.
const maxLink = 2 << 10

// notInAddress are characters that no address has: programs escape them.
const notInAddress = " \"'`<>\\^{}|"

// safeLink returns the address of a link in a log, "" if the page must not have
// it: only web pages and mail addresses are linked.
func safeLink(address string) string {
	u, err := url.Parse(address) // refuses control characters
	switch {
	case err != nil, len(address) > maxLink, strings.ContainsAny(address, notInAddress):
		return ""
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return address
	case u.Scheme == "mailto" && u.Opaque != "":
		return address
	}
	return ""
}

// writeLinked writes text as HTML. All of it is a link to an address; if that is "", the
// addresses of web pages in the text become links.
func writeLinked(out *markedText, text, address string) {
	if address != "" && text != "\n" {
		writeLink(out, text, address)
		return
	}
	for {
		at, end := findAddress(text)
		if at < 0 {
			out.text(text)
			return
		}
		out.text(text[:at])
		writeLink(out, text[at:end], text[at:end])
		text = text[end:]
	}
}

// writeLink writes a link. Its target learns neither where it stands nor anything of the page.
func writeLink(out *markedText, text, address string) {
	out.WriteString(`<a href="` + html.EscapeString(address) + `" rel="noopener noreferrer">`)
	out.text(text)
	out.WriteString(`</a>`)
}

// findAddress finds the first address of a web page in text; at is -1 if there is none.
func findAddress(text string) (at, end int) {
	for from := 0; ; {
		i := strings.Index(text[from:], "://")
		if i < 0 {
			return -1, 0
		}
		i += from
		from = i + len("://")
		at := i
		for at > 0 && isLetter(text[at-1]) {
			at--
		}
		if scheme := text[at:i]; scheme != "http" && scheme != "https" {
			continue
		}
		end := len(text)
		if stop := strings.IndexAny(text[from:], notInAddress+"\t\n"); stop >= 0 {
			end = from + stop
		}
		end = from + len(withoutPunctuation(text[from:end]))
		if safeLink(text[at:end]) != "" {
			return at, end
		}
		from = max(from, end)
	}
}

func isLetter(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }

// withoutPunctuation returns an address without what belongs to the sentence around it:
// marks at the end, and closing brackets that it does not open.
func withoutPunctuation(address string) string {
	for address != "" {
		last := address[len(address)-1]
		switch {
		case strings.IndexByte(".,;:!?*_~", last) >= 0:
		case last == ')' && strings.Count(address, ")") > strings.Count(address, "("):
		case last == ']' && strings.Count(address, "]") > strings.Count(address, "["):
		default:
			return address
		}
		address = address[:len(address)-1]
	}
	return address
}
