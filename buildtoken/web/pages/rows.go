package pages

import (
	"slices"
	"strings"
)

// Markup of the parts of a region that a client can replace one by one: rows of tables, which
// can also be added, removed and moved, and summaries of folds and lists, which only change.
// None of them nest.
const (
	rowBegin = `<tr data-key="`
	rowEnd   = "</tr>"
	// tableBegin begins the rows of a table.
	tableBegin = "<tbody"
)

//nolint:gochecknoglobals // a constant table
var partMarkup = [][2]string{{rowBegin, rowEnd}, {`<summary data-key="`, "</summary>"}, {`<ul data-key="`, "</ul>"}}

// content describes the state of a region that a client has.
type content struct {
	hash string
	// frame is the digest of the region without its rows and other parts.
	frame string
	// keys are those of the rows, in order, for each table; rows has the digest of each row
	// and other part.
	keys [][]string
	rows map[string]string
}

// row is a table's row, or another part, as HTML.
type row struct {
	Key  string `json:"key"`
	HTML string `json:"html"`
	// At is where the row stands; nil if it stands where it did.
	At *place `json:"at,omitempty"`
}

// place is the place of a row behind another one, or at the top of a table if After is "".
type place struct {
	Table int    `json:"table"`
	After string `json:"after"`
}

// update is the data with which a client updates a region: all of it, or the new and changed
// rows with their places.
type update struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	// HTML is the whole region, and the rest is empty; or HTML is nil.
	HTML *string `json:"html,omitempty"`
	// Rows are those that are new or have changed, in order, and Gone the keys of those that
	// are there no longer.
	Rows []row    `json:"rows,omitempty"`
	Gone []string `json:"gone,omitempty"`
	// Keys are those of all rows, in order, for each table, if others have moved too; nil if
	// they have not.
	Keys [][]string `json:"keys,omitempty"`
}

// difference returns the update that brings a client from before to p. before is nil if the
// client has no usable content.
func difference(before *content, p *part) update {
	now := p.content
	u := update{Name: p.Name, Hash: p.Hash}
	if before == nil || before.frame != now.frame {
		html := string(p.HTML)
		u.HTML = &html
		return u
	}
	for _, row := range p.rows {
		if before.rows[row.Key] != now.rows[row.Key] {
			u.Rows = append(u.Rows, row)
		}
	}
	if slices.EqualFunc(before.keys, now.keys, slices.Equal) {
		return u
	}
	if !sameOrder(before, now) {
		u.Keys = now.keys
		return u
	}
	places := now.places()
	for i, row := range u.Rows {
		if at, ok := places[row.Key]; ok {
			u.Rows[i].At = &at
		}
	}
	for _, keys := range before.keys {
		for _, key := range keys {
			if _, there := now.rows[key]; !there {
				u.Gone = append(u.Gone, key)
			}
		}
	}
	return u
}

// sameOrder reports whether the rows that have not changed stand in the same order in the
// same tables.
func sameOrder(before, now *content) bool {
	unchanged := func(keys []string) []string {
		return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return before.rows[key] != now.rows[key] })
	}
	return slices.EqualFunc(before.keys, now.keys, func(a, b []string) bool { return slices.Equal(unchanged(a), unchanged(b)) })
}

// places returns where each row stands.
func (c *content) places() map[string]place {
	all := map[string]place{}
	for table, keys := range c.keys {
		after := ""
		for _, key := range keys {
			all[key] = place{table, after}
			after = key
		}
	}
	return all
}

// contentOf splits a region into its frame and its rows.
func contentOf(r rendered) (*content, []row) {
	c := &content{hash: r.Hash, rows: map[string]string{}}
	var frame strings.Builder
	var rows []row
	rest := string(r.HTML)
	for {
		at, begin, end := nextRow(rest)
		before := rest[:at]
		c.keys = append(c.keys, make([][]string, strings.Count(before, tableBegin))...)
		// Each row is on a separate line; the frame is the same for any number of them.
		frame.WriteString(strings.TrimSuffix(before, "\n"))
		if begin == "" {
			c.frame = digest(frame.String())
			return c, rows
		}
		html := rest[at : at+strings.Index(rest[at:], end)+len(end)]
		key, _, _ := strings.Cut(html[len(begin):], `"`)
		rows = append(rows, row{Key: key, HTML: html})
		c.rows[key] = digest(html)
		if begin == rowBegin {
			last := &c.keys[len(c.keys)-1]
			*last = append(*last, key)
		} else {
			frame.WriteString(begin + key)
		}
		rest = rest[at+len(html):]
	}
}

// nextRow returns where the next row or other part begins, and its markup; the end of the text
// and "" if there is none.
func nextRow(html string) (at int, begin, end string) {
	at = len(html)
	for _, markup := range partMarkup {
		// Only what stands before the one that was found is of interest.
		if i := strings.Index(html[:at], markup[0]); i >= 0 {
			at, begin, end = i, markup[0], markup[1]
		}
	}
	return at, begin, end
}
