package usage_test

import (
	"errors"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/usage"
)

func TestCounterSavesOnlyWhatHasChanged(t *testing.T) {
	start := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	c := usage.New([]queue.TokenUse{
		{Place: "site/", Name: "ci", Uses: 7, First: start.Add(-time.Hour), Last: start},
		{Place: "site/", Name: "other", Uses: 9, First: start, Last: start},
		{Place: "site/", Name: "ci", Uses: 100, Elsewhere: true},
	})
	changed := func() bool {
		select {
		case <-c.Changed():
			return true
		default:
			return false
		}
	}
	save := func(result error) (saved []queue.TokenUse) {
		t.Helper()
		if err := c.Save(func(uses []queue.TokenUse) error {
			saved = uses
			return result
		}); !errors.Is(err, result) {
			t.Errorf("Save = %v, want %v", err, result)
		}
		return saved
	}
	if changed() || save(nil) != nil {
		t.Error("there is something to save, although nothing was used")
	}
	from := netip.MustParseAddr("192.0.2.7")
	for range 3 {
		c.Count(start.Add(time.Minute), "site/", token.Token{Name: "ci"}, from, false)
	}
	want := []queue.TokenUse{{Place: "site/", Name: "ci", Uses: 10, First: start.Add(-time.Hour), Last: start.Add(time.Minute), From: []netip.Addr{from}}}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	full := errors.New("the disk is full")
	for _, result := range []error{full, nil} {
		if !changed() {
			t.Error("Changed has no value")
		}
		if diff := cmp.Diff(want, save(result), same); diff != "" {
			t.Errorf("Save (-want +got):\n%s", diff)
		}
	}
	if changed() || save(nil) != nil {
		t.Error("what was saved is saved again")
	}
}

// Uses that were returned do not change when the token is used again.
func TestAllReturnsCopies(t *testing.T) {
	now := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	c := usage.New(nil)
	first, second := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, from := range []netip.Addr{second, first} {
		c.Count(now, "a/", token.Token{Name: "x"}, from, false)
	}
	got := c.All()
	c.Count(now, "a/", token.Token{Name: "x"}, second, false)
	if u := got[0]; u.Uses != 2 || u.From[0] != first || u.From[1] != second {
		t.Errorf("All = %+v after another use, want 2 uses from %v and %v", u, first, second)
	}
}

// The first use of a removed or expired token leads to a warning, and then at most one use a
// minute. Each token has its own minute.
func TestCounterWarnsOncePerMinute(t *testing.T) {
	start := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	c := usage.New(nil)
	for _, step := range []struct {
		after time.Duration
		name  string
		dead  bool
		want  bool
	}{
		{0, "a", false, false},
		{0, "a", true, true},
		{0, "a", true, false},
		{0, "b", true, true},
		{time.Minute - 1, "a", true, false},
		{time.Minute, "a", false, false},
		{time.Minute, "a", true, true},
		{time.Minute + time.Second, "a", true, false},
		{2 * time.Minute, "a", true, true},
	} {
		if got := c.Count(start.Add(step.after), "site/", token.Token{Name: step.name}, netip.Addr{}, step.dead); got != step.want {
			t.Errorf("%s, dead %v, after %v: Count = %v, want %v", step.name, step.dead, step.after, got, step.want)
		}
	}
}

// A token is shown as it was when it last opened a job, even if a later use finds it removed.
// Its digest is not kept.
func TestCounterShowsTheTokenAsItWas(t *testing.T) {
	start := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	digest := token.NewSecret("Secret-of-ci").Digest()
	c := usage.New(nil)
	shown := func(name string, now time.Time, grants token.Grant, expires time.Time, dead bool) token.Token {
		c.Count(now, "site/", token.Token{Name: name, Digest: digest, Grants: grants, Expires: expires}, netip.Addr{}, dead)
		for _, u := range c.All() {
			if u.Name == name {
				return u.Token
			}
		}
		t.Fatalf("token %s is missing", name)
		return token.Token{}
	}
	soon := start.Add(time.Hour)
	for _, step := range []struct {
		name string
		got  token.Token
		want token.Token
	}{
		{"first use", shown("ci", start, token.Trigger, soon, false), token.Token{Name: "ci", Grants: token.Trigger, Expires: soon}},
		{"after a reload with other grants", shown("ci", start, token.Status, soon, false), token.Token{Name: "ci", Grants: token.Status, Expires: soon}},
		{"after it was removed", shown("ci", start, 0, time.Time{}, true), token.Token{Name: "ci", Grants: token.Status, Expires: soon}},
		{"dead at its first use", shown("old", start, token.Log, start, true), token.Token{Name: "old", Grants: token.Log, Expires: start}},
	} {
		if step.got != step.want {
			t.Errorf("%s: %+v, want %+v", step.name, step.got, step.want)
		}
	}
}

// Reloads can bring new tokens without end. Tokens that are counted already stay counted.
func TestCounterIsBounded(t *testing.T) {
	const limit = 100_000
	now := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	saved := make([]queue.TokenUse, limit-1)
	for i := range saved {
		saved[i] = queue.TokenUse{Place: "site/", Name: strconv.Itoa(i), Uses: 1}
	}
	c := usage.New(saved)
	for _, name := range []string{"last", "more", "0"} {
		warn := c.Count(now, "site/", token.Token{Name: name}, netip.Addr{}, true)
		if want := name != "more"; warn != want {
			t.Errorf("Count of %q = %v, want %v", name, warn, want)
		}
	}
	dead := map[string]uint64{}
	all := c.All()
	for _, u := range all {
		dead[u.Name] = u.Dead
	}
	if len(all) != limit || dead["last"] != 1 || dead["0"] != 1 {
		t.Errorf("%d tokens, the last one used %d times, the first one %d", len(all), dead["last"], dead["0"])
	}
}
