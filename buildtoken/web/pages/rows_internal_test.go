package pages

import (
	"fmt"
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
	one := func(key, text string) row {
		return row{Key: key, HTML: rowBegin + key + `"><td>` + text + "</td></tr>"}
	}
	placed := func(key, text string, table int, after string) row {
		r := one(key, text)
		r.At = &place{table, after}
		return r
	}
	for _, tt := range []struct {
		name          string
		before, after rendered
		rows          []row
		gone          []string
		keys          [][]string
		whole         bool
	}{
		{"a row has changed", asRegion("a=1 b=2"), asRegion("a=1 b=3"), []row{one("b", "3")}, nil, nil, false},
		{"a row has come", asRegion("a=1"), asRegion("b=2 a=1"), []row{placed("b", "2", 0, "")}, nil, nil, false},
		{"a row has come into an empty table", asRegion("", "a=1"), asRegion("b=2", "a=1"), []row{placed("b", "2", 0, "")}, nil, nil, false},
		{"a row has gone", asRegion("a=1 b=2"), asRegion("a=1"), nil, []string{"b"}, nil, false},
		{"the last row has gone", asRegion("a=1", "b=2"), asRegion("", "b=2"), nil, []string{"a"}, nil, false},
		{
			"rows have changed, come, and gone", asRegion("a=1 b=2 c=3", "d=4"), asRegion("c=3 e=5", "b=9 d=4"),
			[]row{placed("e", "5", 0, "c"), placed("b", "9", 1, "")},
			[]string{"a"},
			nil, false,
		},
		{"a row has moved as it changed", asRegion("a=1 b=2 c=3"), asRegion("c=4 a=1 b=2"), []row{placed("c", "4", 0, "")}, nil, nil, false},
		{"rows have another order", asRegion("a=1 b=2", "c=3"), asRegion("b=2 a=1", "c=3"), nil, nil, [][]string{{"b", "a"}, {"c"}}, false},
		{"a row has changed its table", asRegion("a=1 b=2", "c=3"), asRegion("a=1", "b=2 c=3"), nil, nil, [][]string{{"a"}, {"b", "c"}}, false},
		{"a table has come", asRegion("a=1"), asRegion("a=1", "b=2"), nil, nil, nil, true},
		{"the last table has gone", asRegion("a=1"), asRegion(), nil, nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := difference(newPart(tt.before).content, newPart(tt.after))
			if (u.HTML != nil) != tt.whole {
				t.Errorf("the whole region is sent: %t, want %t", u.HTML != nil, tt.whole)
			}
			if u.HTML != nil && *u.HTML != string(tt.after.HTML) {
				t.Errorf("sent %q, want %q", *u.HTML, tt.after.HTML)
			}
			if diff := cmp.Diff(tt.rows, u.Rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.gone, u.Gone); diff != "" {
				t.Errorf("gone (-want +got):\n%s", diff)
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

func TestPartsThatAreNoRowsChangeInPlace(t *testing.T) {
	const counts, fold, row1 = `<ul data-key="counts"><li>%s</li></ul>`, `<summary data-key="fold:app"><h2>app</h2> %s</summary>`, rowBegin + `a"><td>1</td></tr>`
	of := func(count string) rendered {
		html := fmt.Sprintf(counts+"<details>"+fold, count, count) + "<table><tbody>\n" + row1 + "\n</tbody></table></details>"
		return rendered{Name: "jobs", Hash: digest(html), HTML: template.HTML(html)}
	}
	u := difference(newPart(of("1 job")).content, newPart(of("2 jobs")))
	want := []row{{Key: "counts", HTML: fmt.Sprintf(counts, "2 jobs")}, {Key: "fold:app", HTML: fmt.Sprintf(fold, "2 jobs")}}
	if diff := cmp.Diff(want, u.Rows); diff != "" || u.HTML != nil || u.Keys != nil || u.Gone != nil {
		t.Errorf("sent %+v; rows (-want +got):\n%s", u, diff)
	}
}
