package vault_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

func open(t *testing.T, key vault.Key) *vault.Vault {
	t.Helper()
	v, err := vault.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSealAndOpen(t *testing.T) {
	key := vault.NewKey()
	v := open(t, key)
	given := []job.Value{
		{Name: "ENV", Kind: job.KindString, Text: "staging"},
		{Name: "PW", Kind: job.KindPassword, Text: "s3cret"},
		{Name: "EMPTY", Kind: job.KindPassword},
		{Name: "FILE", Kind: job.KindFile, Text: "a.zip", Ref: "ref"},
	}
	sealed := v.Seal("app", given)
	if sealed[1].Text != "" || bytes.Contains(sealed[1].Sealed, []byte("s3cret")) {
		t.Errorf("Seal keeps the password readable: %+v", sealed[1])
	}
	opened, err := v.Open("app", sealed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(given, opened); diff != "" {
		t.Errorf("Open(Seal(values)) (-want +got):\n%s", diff)
	}
	renamed := []queue.Value{sealed[1]}
	renamed[0].Name = "OTHER"
	for name, err := range map[string]error{
		"with another key":     second(open(t, vault.NewKey()).Open("app", sealed)),
		"for another job":      second(v.Open("other", sealed)),
		"as another parameter": second(v.Open("app", renamed)),
	} {
		if !errors.Is(err, vault.ErrWrongKey) {
			t.Errorf("Open %s = %v, want ErrWrongKey", name, err)
		}
	}
}

func second(_ []job.Value, err error) error { return err }

// TestDigestIsStable compares with HMAC-SHA256 over each length and text: stored
// digests must stay comparable, whatever the length of a text.
func TestDigestIsStable(t *testing.T) {
	key := []byte("key")
	for _, size := range []int{0, 1, 511, 512, 513, 4096, 10_000} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			text := strings.Repeat("x", size)
			mac := hmac.New(sha256.New, key)
			for _, s := range []string{"PW", text} {
				mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
				mac.Write([]byte(s))
			}
			got, left := vault.DigestOf(key, "PW", text)
			if want := queue.Digest(mac.Sum(nil)); got != want {
				t.Errorf("digest = %x, want %x", got, want)
			}
			if left != "" {
				t.Errorf("the digester still holds %d bytes of a password of %d bytes", len(left), size)
			}
		})
	}
}

func TestDigests(t *testing.T) {
	v := open(t, vault.NewKey())
	one := []job.Value{{Name: "A", Kind: job.KindString, Text: "bc"}}
	if again := v.Digest(slices.Clone(one)); v.Digest(one) != again {
		t.Error("equal values have different digests")
	}
	if v.Digest(nil) != (queue.Digest{}) {
		t.Error("no values do not have the zero digest")
	}
	distinct := map[queue.Digest]string{}
	for name, d := range map[string]queue.Digest{
		"values":                v.Digest(one),
		"a text moved by one":   v.Digest([]job.Value{{Name: "A", Kind: "stringb", Text: "c"}}),
		"another key":           open(t, vault.NewKey()).Digest(one),
		"with files":            v.DigestWithFiles(v.Digest(one), make([]byte, 32)),
		"with other files":      v.DigestWithFiles(v.Digest(one), bytes.Repeat([]byte{1}, 32)),
		"a client's key":        v.DigestIdempotencyKey("k", "user", "a"),
		"another client's key":  v.DigestIdempotencyKey("k", "user", "b"),
		"a share":               v.SignShare("1", "a"),
		"another share":         v.SignShare("1", "b"),
		"its boundary moved":    v.SignShare("1a", ""),
		"a share's other key":   open(t, vault.NewKey()).SignShare("1", "a"),
		"the boundary moved":    v.DigestIdempotencyKey("ak", "user", ""),
		"another kind's client": v.DigestIdempotencyKey("k", "token", "a"),
	} {
		if other, ok := distinct[d]; ok {
			t.Errorf("%q and %q have the same digest", name, other)
		}
		distinct[d] = name
	}
}

// TestSignShare signs on two servers that have the same key.
func TestSignShare(t *testing.T) {
	key := vault.NewKey()
	if one, other := open(t, key).SignShare("1", "app"), open(t, key).SignShare("1", "app"); one != other {
		t.Errorf("two vaults with one key sign %x and %x", one, other)
	}
}

// TestDigestsDifferByUse passes the same texts to every kind of digest. Each kind has a
// separate key, so a digest from one place is useless in another.
func TestDigestsDifferByUse(t *testing.T) {
	key := vault.NewKey()
	v := open(t, key)
	byUse := map[string]string{}
	for use, sum := range map[string][]byte{
		"values":          digestBytes(v.Digest([]job.Value{{Name: "a", Kind: "b", Text: "c"}})),
		"idempotency key": digestBytes(v.DigestIdempotencyKey("c", "a", "b")),
		"share":           digestBytes(v.SignShare("a", "b", "c")),
		"fingerprint":     key.Fingerprint(),
	} {
		if other, ok := byUse[string(sum)]; ok {
			t.Errorf("%s and %s have the same digest", use, other)
		}
		byUse[string(sum)] = use
	}
	if bytes.Equal(key.Fingerprint(), vault.NewKey().Fingerprint()) {
		t.Error("two keys have the same fingerprint")
	}
	if !bytes.Equal(key.Fingerprint(), key.Fingerprint()) {
		t.Error("a key has two fingerprints")
	}
}

func digestBytes(d queue.Digest) []byte { return d[:] }

// TestEachPartCounts changes the texts of a digest one after the other.
func TestEachPartCounts(t *testing.T) {
	v := open(t, vault.NewKey())
	value := func(name string, kind job.Kind, text string) queue.Digest {
		return v.Digest([]job.Value{{Name: name, Kind: kind, Text: text}, {Name: "last"}})
	}
	values := v.Digest([]job.Value{{Name: "a"}})
	for _, tt := range []struct {
		what       string
		one, other queue.Digest
	}{
		{"the name of a value", value("a", "k", "t"), value("b", "k", "t")},
		{"the kind of a value", value("a", "k", "t"), value("a", "l", "t")},
		{"the text of a value", value("a", "k", "t"), value("a", "k", "u")},
		{"the number of values", v.Digest([]job.Value{{}}), v.Digest([]job.Value{{}, {}})},
		{"that there are values", v.Digest(nil), v.Digest([]job.Value{{}})},
		{"the values beside files", v.DigestWithFiles(values, nil), v.DigestWithFiles(queue.Digest{}, nil)},
		{"the files", v.DigestWithFiles(values, []byte("a")), v.DigestWithFiles(values, []byte("b"))},
		{"that there are files", v.DigestWithFiles(values, nil), values},
		{"an idempotency key", v.DigestIdempotencyKey("a", "c"), v.DigestIdempotencyKey("b", "c")},
		{"its client", v.DigestIdempotencyKey("a", "c"), v.DigestIdempotencyKey("a", "d")},
		{"what a share is bound to", v.SignShare("a", "b"), v.SignShare("a", "c")},
	} {
		if tt.one == tt.other {
			t.Errorf("%s does not change the digest", tt.what)
		}
	}
}

func TestIsEmpty(t *testing.T) {
	v := open(t, vault.NewKey())
	for text, want := range map[string]bool{"": true, "x": false, " ": false, strings.Repeat("x", 28): false} {
		sealed := v.Seal("app", []job.Value{{Name: "P", Kind: job.KindPassword, Text: text}})
		if got := vault.IsEmpty(sealed[0]); got != want {
			t.Errorf("IsEmpty(%q) = %v, want %v", text, got, want)
		}
	}
}

// TestSealedPasswordsAreNeverAlike seals one password twice: a reader of the stored data must
// not learn which builds had the same password.
func TestSealedPasswordsAreNeverAlike(t *testing.T) {
	v := open(t, vault.NewKey())
	given := []job.Value{{Name: "P", Kind: job.KindPassword, Text: "s3cret"}}
	if one, other := v.Seal("app", given)[0], v.Seal("app", given)[0]; bytes.Equal(one.Sealed, other.Sealed) {
		t.Error("a password that is sealed twice looks the same both times")
	}
}
