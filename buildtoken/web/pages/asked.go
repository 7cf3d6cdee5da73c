package pages

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// asked is the part of the log that the address of a build's page names:
//
//	?at=OFFSET         the line that holds a byte
//	?at=OFFSET-OFFSET  the lines from one to another
//	?q=TEXT            the first line with a text, or, with at, that place among the others
//	?find=error        likewise the lines that look like an error
type asked struct {
	// from and to are offsets; to is negative if no place is named.
	from, to int64
	// query is the text as it was typed.
	query  string
	search search
}

// parseAsked reads the query of an address. Its error explains to people what is wrong.
func parseAsked(query url.Values) (asked, error) {
	a := asked{from: -1, to: -1, query: strings.TrimSpace(query.Get("q"))}
	if at := query.Get("at"); at != "" {
		first, last, isRange := strings.Cut(at, "-")
		if !isRange {
			last = first
		}
		var err error
		if a.from, err = parseOffset(first); err != nil {
			return a, err
		}
		if a.to, err = parseOffset(last); err != nil {
			return a, err
		}
		a.from, a.to = min(a.from, a.to), max(a.from, a.to)
	}
	switch {
	case len(a.query) > maxQuery:
		return a, badAddress("the text to find is longer than %d bytes", maxQuery)
	case !utf8.ValidString(a.query), strings.ContainsFunc(a.query, isControl):
		return a, badAddress("the text to find has a line break or another control character, which no line has")
	}
	a.search.text = strings.ToLower(a.query)
	switch find := query.Get("find"); find {
	case "":
	case "error":
		a.search, a.query = search{errors: true}, ""
	default:
		return a, badAddress("the value of find=%.40s is not known: find=error finds lines that look like an error, q=TEXT finds a text", find)
	}
	return a, nil
}

func parseOffset(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 62)
	if err != nil {
		return 0, badAddress("the place at=%.40s is neither a number of bytes nor two with a - between them", text)
	}
	return int64(n), nil
}

// badAddress is an error about the address of a page, for people.
func badAddress(format string, args ...any) error {
	return &web.BadRequestError{Problem: fmt.Sprintf(format, args...)}
}

// given reports whether the address names anything.
func (a asked) given() bool { return a.to >= 0 || a.search.active() }

func (a asked) marks() marks { return marks{from: a.from, to: a.to + 1, search: a.search} }

// urlAt returns the address of another place with the same search, relative to the page.
func (a asked) urlAt(offset int64) string {
	query := url.Values{"at": {strconv.FormatInt(offset, 10)}}
	if a.search.errors {
		query.Set("find", "error")
	} else {
		query.Set("q", a.query)
	}
	return "?" + query.Encode() + "#at"
}
