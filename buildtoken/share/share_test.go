package share_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/share"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, key vault.Key) *vault.Vault {
	t.Helper()
	v, err := vault.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func set(t *testing.T, tokens ...token.Token) token.Set {
	t.Helper()
	s, err := token.NewSet(tokens)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sharer is a token that grants links.
func sharer(name string) token.Token {
	return token.Token{Name: name, Digest: token.NewSecret("secret of " + name).Digest(), Grants: token.Trigger | token.Share, Level: 1}
}

func TestLinkIsValidForThirtyDays(t *testing.T) {
	v, ci := open(t, vault.NewKey()), sharer("ci")
	id := share.Link{Item: 12345678901, Job: "site/søk deploy"}.ID(noon, v, ci)
	l, ok := share.Read(id)
	if !ok || l.Item != 12345678901 || l.Job != "site/søk deploy" {
		t.Fatalf("Read = %+v, %v", l, ok)
	}
	const month = 30 * 24 * time.Hour
	for after, want := range map[time.Duration]bool{0: true, month - time.Second: true, month: false, month + time.Hour: false} {
		if got := l.Valid(noon.Add(after), v, set(t, ci)); got != want {
			t.Errorf("after %v it is valid: %v, want %v", after, got, want)
		}
	}
}

// A link is that of its token: one of the same job that is different in any way has not made it.
func TestLinkNeedsItsToken(t *testing.T) {
	v, ci := open(t, vault.NewKey()), sharer("ci")
	l, ok := share.Read(share.Link{Item: 7, Job: "app"}.ID(noon, v, ci))
	if !ok {
		t.Fatal("Read refused a new link")
	}
	with := func(change func(*token.Token)) token.Token {
		other := ci
		change(&other)
		return other
	}
	for name, tt := range map[string]struct {
		tokens []token.Token
		want   bool
	}{
		"its token":                  {[]token.Token{ci}, true},
		"its token behind another":   {[]token.Token{sharer("other"), ci}, true},
		"its token before another":   {[]token.Token{ci, sharer("other")}, true},
		"its token, with more time":  {[]token.Token{with(func(t *token.Token) { t.Expires = noon.Add(time.Second) })}, true},
		"its token, with more to do": {[]token.Token{with(func(t *token.Token) { t.Grants |= token.Status })}, true},
		"no token":                   {nil, false},
		"another name":               {[]token.Token{with(func(t *token.Token) { t.Name = "cd" })}, false},
		"another secret":             {[]token.Token{with(func(t *token.Token) { t.Digest = sharer("x").Digest })}, false},
		"another level":              {[]token.Token{with(func(t *token.Token) { t.Level = 2 })}, false},
		"no grant any more":          {[]token.Token{with(func(t *token.Token) { t.Grants = token.Trigger })}, false},
		"expired":                    {[]token.Token{with(func(t *token.Token) { t.Expires = noon })}, false},
	} {
		if got := l.Valid(noon, v, set(t, tt.tokens...)); got != tt.want {
			t.Errorf("%s: valid = %v, want %v", name, got, tt.want)
		}
	}
	if l.Valid(noon, open(t, vault.NewKey()), set(t, ci)) {
		t.Error("a link is valid with another key")
	}
}

// No bit of a link can be changed: not the item, the job, its end or the signature.
func TestChangedLinkIsNotValid(t *testing.T) {
	v, ci := open(t, vault.NewKey()), sharer("ci")
	raw, err := base64.RawURLEncoding.DecodeString(share.Link{Item: 7, Job: "app"}.ID(noon, v, ci))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if l, ok := share.Read(base64.RawURLEncoding.EncodeToString(raw)); ok && l.Valid(noon, v, set(t, ci)) {
				t.Errorf("valid with another bit %d in byte %d: %+v", bit, i, l)
			}
			raw[i] ^= 1 << bit
		}
	}
	longer := base64.RawURLEncoding.EncodeToString(append(raw, 'x'))
	if l, ok := share.Read(longer); !ok || l.Job != "appx" || l.Valid(noon, v, set(t, ci)) {
		t.Errorf("a longer name: %+v, %v, want it read and not valid", l, ok)
	}
}

func TestReadRefuses(t *testing.T) {
	encode := func(size int) string { return base64.RawURLEncoding.EncodeToString(make([]byte, size)) }
	const head = 16 + 8 + 8 // signature, item and end
	if l, ok := share.Read(encode(head + 1)); !ok || l.Job != "\x00" {
		t.Error("Read refused a name of one byte")
	}
	id := encode(head + 2) // 46 characters, of which the last one has four bits
	for name, bad := range map[string]string{
		"nothing":           "",
		"no name of a job":  encode(head),
		"padding":           id + "==",
		"a line end":        id[:8] + "\n" + id[8:],
		"another last bit":  id[:len(id)-1] + "B",
		"another alphabet":  id[:len(id)-4] + "++++",
		"no character":      id + "!",
		"a character alone": id[:len(id)-1],
	} {
		if l, ok := share.Read(bad); ok {
			t.Errorf("%s: Read = %+v, want it refused", name, l)
		}
	}
}

// Links that were given away stay valid when the program is updated.
func TestEarlierLinkIsValid(t *testing.T) {
	const id = "kOb3dZahZZC6JfJqEmP0PgAAAAAAAAAbAAAAAGszoMBhcHA"
	v, ci := open(t, vault.Key{1}), sharer("ci")
	if got := (share.Link{Item: 27, Job: "app"}).ID(noon, v, ci); got != id {
		t.Errorf("ID = %s, want %s", got, id)
	}
}
