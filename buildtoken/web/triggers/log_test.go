package triggers_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

// FuzzEvents sends a log that arrives in two pieces as events. Whatever a build writes must be
// the text of our events, and must not create events, ids or fields.
func FuzzEvents(f *testing.F) {
	for _, seed := range [][2]string{
		{"a line\n", "another\n"},
		{"a\r", "\nb\r\rc\r\n"},
		{"\r\x92\n", "0"},
		{"\n\nevent: end\nid: end\ndata: {}\n\n", "\r\revent: end\r\r"},
		{"half \xe2\x82", "\xac and \xff\xfe"},
		{"\u2028\u2029\u0085", "\x00\x0b\x0c"},
		{"", ""},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		w := httptest.NewRecorder()
		q := (&web.Site{}).Request(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		defer q.Begin().End()
		triggers.EventStream(q, one, two)
		sent := w.Body.String()
		if !utf8.ValidString(sent) {
			t.Fatalf("%q is not valid UTF-8", sent)
		}
		var text strings.Builder
		var last string
		for event := range strings.SplitSeq(strings.TrimSuffix(sent, "\n\n"), "\n\n") {
			lines := strings.Split(event, "\n")
			if len(lines) >= 2 && lines[0] == "event: end" && strings.HasPrefix(lines[1], "id: ") {
				last = event
				continue
			}
			if last != "" {
				t.Fatalf("%q comes after the end", event)
			}
			if id, ok := strings.CutPrefix(lines[0], "id: "); !ok || strings.Trim(id, "0123456789") != "" {
				t.Fatalf("event %q of %q has no id", event, sent)
			}
			for i, line := range lines[1:] {
				data, ok := strings.CutPrefix(line, "data: ")
				if !ok || strings.Contains(data, "\r") {
					t.Fatalf("line %q of %q", line, sent)
				}
				if i > 0 {
					text.WriteByte('\n')
				}
				text.WriteString(data)
			}
		}
		if last == "" {
			t.Fatalf("no end in %q", sent)
		}
		// Invalid UTF-8 is replaced, wherever the pieces are divided.
		plain := func(s string) string {
			s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(s, "\uFFFD"))
			return strings.ReplaceAll(s, "\uFFFD", "")
		}
		if got, want := plain(text.String()), plain(string(one)+string(two)); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
