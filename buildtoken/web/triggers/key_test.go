package triggers_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

func onceHeaders() []struct {
	name, in, want string // want "": refused
} {
	return []struct{ name, in, want string }{
		{"a quoted string", `"8e03978e-40d5"`, "8e03978e-40d5"},
		{"the same without quotes", "8e03978e-40d5", "8e03978e-40d5"},
		{"blanks around it", ` "k" `, "k"},
		{"blanks in it", `"two words"`, "two words"},
		{"blanks in it, without quotes", "two words", ""},
		{"escapes", `"\"\\"`, `"\`},
		{"another escape", `"\n"`, ""},
		{"an escape of nothing", `"k\`, ""},
		{"not closed", `"k`, ""},
		{"quotes in the middle", `k"k"`, ""},
		{"a parameter", `"k";a=1`, ""},
		{"a parameter, without quotes", `k;a=1`, ""},
		{"two in one", `"a", "b"`, ""},
		{"nothing", "", ""},
		{"an empty string", `""`, ""},
		{"as long as it may be", `"` + strings.Repeat("k", 255) + `"`, strings.Repeat("k", 255)},
		{"too long", `"` + strings.Repeat("k", 256) + `"`, ""},
		{"too long, without quotes", strings.Repeat("k", 256), ""},
		{"other letters", `"schön"`, ""},
		{"other letters, without quotes", "schön", ""},
		{"a control character", "\"a\tb\"", ""},
		{"DEL", "\"a\x7fb\"", ""},
		{"the last character that may be without quotes", "a~b", "a~b"},
		{"DEL, without quotes", "a\x7fb", ""},
	}
}

func TestIdempotencyKey(t *testing.T) {
	for _, tt := range onceHeaders() {
		t.Run(tt.name, func(t *testing.T) {
			got, err := key(tt.in)
			switch {
			case tt.want == "" && err == nil:
				t.Errorf("Idempotency-Key %q is parsed as %v, want an error", tt.in, got)
			case tt.want != "" && (err != nil || got == nil || *got != tt.want):
				t.Errorf("Idempotency-Key %q is parsed as %v, %v, want %q", tt.in, got, err, tt.want)
			}
		})
	}
	if got, err := key(); got != nil || err != nil {
		t.Errorf("no header is parsed as %v, %v, want no key", got, err)
	}
	if _, err := key("a", "a"); err == nil {
		t.Error("two headers are accepted")
	}
}

// FuzzIdempotencyKey parses what it has parsed again, with quotes.
func FuzzIdempotencyKey(f *testing.F) {
	for _, tt := range onceHeaders() {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := key(header)
		if err != nil {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(*got) + `"`
		again, err := key(quoted)
		if err != nil || *again != *got {
			t.Errorf("%q is taken for %q, and that in quotes for %v, %v", header, *got, again, err)
		}
	})
}

// key reads the header Idempotency-Key.
func key(values ...string) (*string, error) {
	h := http.Header{}
	if values != nil {
		h["Idempotency-Key"] = values
	}
	return triggers.IdempotencyKey(h)
}
