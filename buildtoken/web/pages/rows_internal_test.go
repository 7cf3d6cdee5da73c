package pages

import (
	"html/template"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asRegion returns tables in which each word is a row: KEY=CONTENT.
func asRegion(tables ...string) rendered {
	var b strings.Builder
	b.WriteString("<h1>Jobs</h1>")
	for _, t := range tables {
		b.WriteString("\n<table><tbody>")
		for _, word := range strings.Fields(t) {
			key, text, _ := strings.Cut(word, "=")
			b.WriteString("\n" + rowBegin + key + `"><td>` + text + "</td></tr>")
		}
		b.WriteString("\n</tbody></table>")
	}
	return rendered{Name: "jobs", Hash: digest(b.String()), HTML: template.HTML(b.String())}
}

func TestDifferenceIsWhatChanged(t *testing.T) {
	one := func(key, text string) row { return row{key, rowBegin + key + `"><td>` + text + "</td></tr>"} }
	for _, tt := range []struct {
		name          string
		before, after rendered
		rows          []row
		keys          [][]string
		whole         bool
	}{
		{"a row has changed", asRegion("a=1 b=2"), asRegion("a=1 b=3"), []row{one("b", "3")}, nil, false},
		{"a row has come", asRegion("a=1"), asRegion("b=2 a=1"), []row{one("b", "2")}, [][]string{{"b", "a"}}, false},
		{"a row has gone", asRegion("a=1 b=2"), asRegion("a=1"), nil, [][]string{{"a"}}, false},
		{"rows have another order", asRegion("a=1 b=2", "c=3"), asRegion("b=2 a=1", "c=3"), nil, [][]string{{"b", "a"}, {"c"}}, false},
		{"a row has changed its table", asRegion("a=1 b=2", "c=3"), asRegion("a=1", "b=2 c=3"), nil, [][]string{{"a"}, {"b", "c"}}, false},
		{"a table has come", asRegion("a=1"), asRegion("a=1", "b=2"), nil, nil, true},
		{"the last table has gone", asRegion("a=1"), asRegion(), nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, before := difference(nil, tt.before)
			u, _ := difference(before, tt.after)
			if (u.HTML != nil) != tt.whole {
				t.Errorf("the whole region is sent: %t, want %t", u.HTML != nil, tt.whole)
			}
			if u.HTML != nil && *u.HTML != string(tt.after.HTML) {
				t.Errorf("sent %q, want %q", *u.HTML, tt.after.HTML)
			}
			if diff := cmp.Diff(tt.rows, u.Rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.keys, u.Keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if u.Hash != tt.after.Hash {
				t.Errorf("hash %q, want %q", u.Hash, tt.after.Hash)
			}
		})
	}
}
