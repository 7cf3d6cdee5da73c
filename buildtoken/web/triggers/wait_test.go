package triggers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

func waitPreferences() []struct {
	name   string
	prefer []string
	want   time.Duration
} {
	const s = time.Second
	return []struct {
		name   string
		prefer []string
		want   time.Duration
	}{
		{"nothing", nil, 0},
		{"seconds", []string{"wait=10"}, 10 * s},
		{"in capitals, with blanks, quoted", []string{` Wait = "10" `}, 10 * s},
		{"with a parameter", []string{"wait=10; foo=bar"}, 10 * s},
		{"among others", []string{"respond-async, wait=10", "handling=lenient"}, 10 * s},
		{"behind another one, without a blank", []string{"respond-async,wait=10"}, 10 * s},
		{"behind an empty one", []string{",wait=10"}, 10 * s},
		{"in the second header", []string{"respond-async", "wait=10"}, 10 * s},
		{"the first of two", []string{"wait=10", "wait=20"}, 10 * s},
		{"in the text of another preference", []string{`note="x, wait=10"`}, 0},
		{"between commas in the text of another preference", []string{`note="x, wait=10, y"`}, 0},
		{"after the text of another preference", []string{`note="x\", y", wait=10`}, 10 * s},
		{"a name that ends like it", []string{"await=10"}, 0},
		{"none at all", []string{"wait=0"}, 0},
		{"the most", []string{"wait=300"}, 300 * s},
		{"more than the most", []string{"wait=301"}, 300 * s},
		{"more than a number holds", []string{"wait=99999999999999999999999"}, 300 * s},
		{"negative", []string{"wait=-1"}, 0},
		{"a fraction", []string{"wait=1.5"}, 0},
		{"no number", []string{"wait=long"}, 0},
		{"no value", []string{"wait"}, 0},
		{"an empty header", []string{""}, 0},
	}
}

func TestWaitPreference(t *testing.T) {
	for _, tt := range waitPreferences() {
		t.Run(tt.name, func(t *testing.T) {
			if got := triggers.WaitPreference(tt.prefer); got != tt.want {
				t.Errorf("Prefer %q waits %v, want %v", tt.prefer, got, tt.want)
			}
		})
	}
}

func FuzzWaitPreference(f *testing.F) {
	for _, tt := range waitPreferences() {
		f.Add(strings.Join(tt.prefer, ", "))
	}
	f.Fuzz(func(t *testing.T, prefer string) {
		if got := triggers.WaitPreference([]string{prefer}); got < 0 || got > 5*time.Minute || got%time.Second != 0 {
			t.Errorf("Prefer %q waits %v", prefer, got)
		}
	})
}
