package queue_test

import (
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func TestOneLine(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		limit    int
		want     string
	}{
		{"ordinary text", "größer & <b>", 100, "größer & <b>"},
		{"line ends", "a\nb\r\nc\u0085d", 100, "a b  c d"},
		{"control characters", "a\x00b\x1bc\x7fd\u009be", 100, "a b c d e"},
		{"separators of lines and paragraphs", "a\u2028b\u2029c", 100, "a b c"},
		{"embedded directions", "a\u202Ab\u202Bc\u202Cd\u202De\u202Ef", 100, "a b c d e f"},
		{"isolated directions", "a\u2066b\u2067c\u2068d\u2069e", 100, "a b c d e"},
		{"marks of direction", "a\u061Cb\u200Ec\u200Fd", 100, "a b c d"},
		{"the neighbours of these stay", "\u061B\u200D\u2010\u2027\u202F\u2065\u206A", 100, "\u061B\u200D\u2010\u2027\u202F\u2065\u206A"},
		{"invalid UTF-8", "a\xffb\xc3", 100, "a\uFFFDb\uFFFD"},
		{"a run of invalid bytes", "a\xff\xfe\xffb", 100, "a\uFFFDb"},
		{"as long as the limit", "abc", 3, "abc"},
		{"longer than the limit", "abcd", 3, "abc"},
		{"a character across the limit", "abö", 3, "ab"},
		{"no room", "a", 0, ""},
	} {
		if got := queue.OneLine(tt.in, tt.limit); got != tt.want {
			t.Errorf("%s: OneLine(%q, %d) = %q, want %q", tt.name, tt.in, tt.limit, got, tt.want)
		}
	}
}
