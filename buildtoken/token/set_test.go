package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/token"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func named(name, secret string) token.Token {
	return token.Token{Name: name, Digest: token.NewSecret(secret).Digest(), Grants: token.Trigger}
}

func expiring(t token.Token, at time.Time) token.Token {
	t.Expires = at
	return t
}

func at(level int, t token.Token) token.Token {
	t.Level = level
	return t
}

func TestSetCheck(t *testing.T) {
	for _, tt := range []struct {
		name      string
		tokens    []token.Token
		presented string
		want      string // name and level
		err       error
	}{
		{"the only one", []token.Token{named("a", "A")}, "A", "a 0", nil},
		{"the first of three", []token.Token{named("a", "A"), named("b", "B"), named("c", "C")}, "A", "a 0", nil},
		{"the last of three", []token.Token{named("a", "A"), named("b", "B"), named("c", "C")}, "C", "c 0", nil},
		{"a folder's", []token.Token{named("a", "A"), at(2, named("a", "B"))}, "B", "a 2", nil},
		{"the nearest of two with one secret", []token.Token{named("a", "A"), at(1, named("b", "A"))}, "A", "a 0", nil},
		{
			"the nearest that has not expired",
			[]token.Token{expiring(named("a", "A"), noon), at(1, named("b", "A")), at(2, named("c", "A"))},
			"A", "b 1", nil,
		},
		{"an instant before it expires", []token.Token{expiring(named("a", "A"), noon.Add(1))}, "A", "a 0", nil},
		{"in another zone", []token.Token{expiring(named("a", "A"), noon.Add(1).In(time.FixedZone("", 3600)))}, "A", "a 0", nil},
		{"the instant at which it expires", []token.Token{expiring(named("a", "A"), noon)}, "A", "", token.ErrExpired},
		{"long expired", []token.Token{named("b", "B"), expiring(named("a", "A"), noon.AddDate(-1, 0, 0))}, "A", "", token.ErrExpired},
		{"wrong, beside an expired one", []token.Token{expiring(named("a", "A"), noon)}, "B", "", token.ErrMismatch},
		{"wrong", []token.Token{named("a", "A")}, "B", "", token.ErrMismatch},
		{"another case", []token.Token{named("a", "A")}, "a", "", token.ErrMismatch},
		{"space around it", []token.Token{named("a", "A")}, " A", "", token.ErrMismatch},
		{"its digest", []token.Token{named("a", "A")}, token.NewSecret("A").Digest().String(), "", token.ErrMismatch},
		{"nothing", []token.Token{named("a", "A")}, "", "", token.ErrMissing},
		{"nothing, and no tokens", nil, "", "", token.ErrMissing},
		{"something, and no tokens", nil, "A", "", token.ErrMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := token.NewSet(tt.tokens)
			if err != nil {
				t.Fatal(err)
			}
			got, err := set.Check(noon, token.NewSecret(tt.presented))
			if !errors.Is(err, tt.err) {
				t.Fatalf("Check(%q) = %v, want %v", tt.presented, err, tt.err)
			}
			if err != nil {
				expired := errors.Is(err, token.ErrExpired)
				if expired != (got.Name != "") || got.Digest != (token.Digest{}) || got.Grants != 0 || !expired && got != (token.Token{}) {
					t.Errorf("Check(%q) = %v beside an error", tt.presented, got)
				}
				return
			}
			if name := fmt.Sprint(got.Name, " ", got.Level); name != tt.want {
				t.Errorf("Check(%q) = %s, want %s", tt.presented, name, tt.want)
			}
		})
	}
}

func TestSetCheckGivesTheWholeToken(t *testing.T) {
	want := token.Token{
		Name: "ci", Digest: token.NewSecret(text).Digest(), Expires: noon.AddDate(1, 0, 0),
		Grants: token.Trigger | token.Log, Level: 3,
	}
	set, err := token.NewSet([]token.Token{want})
	if err != nil {
		t.Fatal(err)
	}
	got, err := set.Check(noon, token.NewSecret(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
}

func TestNewSetRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tokens []token.Token
		want   error
	}{
		{"two of one name", []token.Token{named("a", "A"), named("a", "B")}, token.ErrDuplicate},
		{"one name at two levels is allowed", []token.Token{named("a", "A"), at(1, named("a", "B"))}, nil},
		{"names that differ in case are two", []token.Token{named("a", "A"), named("A", "B")}, nil},
		{"one secret under two names is allowed", []token.Token{named("a", "A"), named("b", "A")}, nil},
		{"no tokens are allowed", nil, nil},
		{"no name", []token.Token{named("", "A")}, token.ErrBadName},
		{"no digest", []token.Token{{Name: "a"}}, token.ErrEmpty},
		{"the digest of the empty text", []token.Token{named("a", "")}, token.ErrEmpty},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := token.NewSet(tt.tokens)
			if !errors.Is(err, tt.want) {
				t.Fatalf("NewSet = %v, want %v", err, tt.want)
			}
			if err == nil && set.Len() != len(tt.tokens) {
				t.Errorf("Len() = %d, want %d", set.Len(), len(tt.tokens))
			}
			if err != nil && set.Len() != 0 {
				t.Errorf("%d tokens beside an error", set.Len())
			}
		})
	}
}

func TestNewSetCopies(t *testing.T) {
	tokens := []token.Token{named("a", "A")}
	set, err := token.NewSet(tokens)
	if err != nil {
		t.Fatal(err)
	}
	tokens[0] = named("b", "B")
	if _, err := set.Check(noon, token.NewSecret("B")); !errors.Is(err, token.ErrMismatch) {
		t.Errorf("Check after the caller changed its slice = %v, want %v", err, token.ErrMismatch)
	}
}

func TestCheckName(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"a word", "default", nil},
		{"space and umlauts", "Prüfung 2", nil},
		{"the longest", strings.Repeat("a", 200), nil},
		{"too long", strings.Repeat("a", 201), token.ErrBadName},
		{"nothing", "", token.ErrBadName},
		{"a slash", "a/b", token.ErrBadName},
		{"a line break", "a\nb", token.ErrBadName},
		{"a control character above ASCII", "a\u0085b", token.ErrBadName},
		{"not UTF-8", "a\xff", token.ErrBadName},
		{"a digest in the wrong place", textDigest, token.ErrBadName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := token.CheckName(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("CheckName(%q) = %v, want %v", tt.in, err, tt.want)
			}
		})
	}
}

func TestSetCheckDoesNotAllocate(t *testing.T) {
	for _, n := range []int{0, 1, 8} {
		set, presented := setOf(t, n), token.NewSecret("7")
		if got := testing.AllocsPerRun(100, func() { set.Check(noon, presented) }); got != 0 {
			t.Errorf("Check of %d tokens allocates %v times", n, got)
		}
	}
}

func BenchmarkSetCheck(b *testing.B) {
	for _, n := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("tokens=%d", n), func(b *testing.B) {
			set, presented := setOf(b, n), token.NewSecret("wrong")
			b.ReportAllocs()
			for b.Loop() {
				set.Check(noon, presented)
			}
		})
	}
}

func BenchmarkNewSecret(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		token.NewSecret(text)
	}
}

func setOf(tb testing.TB, n int) token.Set {
	tb.Helper()
	var tokens []token.Token
	for i := range n {
		tokens = append(tokens, expiring(named(fmt.Sprint(i), fmt.Sprint(i)), noon.Add(time.Hour)))
	}
	set, err := token.NewSet(tokens)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// TestCheckComparesTheWholeDigest changes each bit of a digest. The secret must not open the
// job any more.
func TestCheckComparesTheWholeDigest(t *testing.T) {
	right := named("a", text)
	for bit := range 8 * len(right.Digest) {
		changed := right
		changed.Digest[bit/8] ^= 1 << (bit % 8)
		set, err := token.NewSet([]token.Token{changed})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set.Check(noon, token.NewSecret(text)); !errors.Is(err, token.ErrMismatch) {
			t.Errorf("Check with bit %d of the digest changed = %v, want ErrMismatch", bit, err)
		}
	}
}
