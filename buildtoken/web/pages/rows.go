package pages

import (
	"slices"
	"strings"
)

// Markup of a table's row that a client can replace on its own. Rows do not nest.
const (
	rowBegin = `<tr data-key="`
	rowEnd   = "</tr>"
)

// content is what a client has of a region.
type content struct {
	hash string
	// frame is the digest of the region without its rows.
	frame string
	// keys are those of the rows, in order, for each table; rows has the digest of each.
	keys [][]string
	rows map[string]string
}

// row is a table's row as HTML.
type row struct {
	Key  string `json:"key"`
	HTML string `json:"html"`
}

// update is what a client needs to show a region: all of it, or the rows that are new
// and the order of all of them.
type update struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	// HTML is the whole region, and the rest is empty; or HTML is nil.
	HTML *string `json:"html,omitempty"`
	// Rows are those that are new or have changed.
	Rows []row `json:"rows,omitempty"`
	// Keys are those of all rows, in order, for each table; nil if they are as before.
	Keys [][]string `json:"keys,omitempty"`
}

// difference returns what a client that has before needs to show r, and what it has
// then. before may be nil: then the client has something else, or nothing.
func difference(before *content, r rendered) (update, *content) {
	now, rows := contentOf(r)
	u := update{Name: r.Name, Hash: r.Hash}
	if before == nil || before.frame != now.frame {
		html := string(r.HTML)
		u.HTML = &html
		return u, now
	}
	for _, row := range rows {
		if before.rows[row.Key] != now.rows[row.Key] {
			u.Rows = append(u.Rows, row)
		}
	}
	if !slices.EqualFunc(before.keys, now.keys, slices.Equal) {
		u.Keys = now.keys
	}
	return u, now
}

// contentOf splits a region into its frame and its rows. A table without rows must not
// be rendered: tables are told apart by what stands between their rows.
func contentOf(r rendered) (*content, []row) {
	c := &content{hash: r.Hash, rows: map[string]string{}}
	var frame strings.Builder
	var rows []row
	rest := string(r.HTML)
	for {
		before, after, found := strings.Cut(rest, rowBegin)
		// Each row has a line of its own; the frame is the same for any number of them.
		before = strings.TrimSuffix(before, "\n")
		frame.WriteString(before)
		if !found {
			c.frame = digest(frame.String())
			return c, rows
		}
		end := strings.Index(after, rowEnd) + len(rowEnd)
		key, _, _ := strings.Cut(after[:end], `"`)
		html := rowBegin + after[:end]
		rows = append(rows, row{key, html})
		if before != "" {
			c.keys = append(c.keys, nil)
		}
		last := &c.keys[len(c.keys)-1]
		*last = append(*last, key)
		c.rows[key] = digest(html)
		rest = after[end:]
	}
}
