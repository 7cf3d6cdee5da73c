package token_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/token"
)

const (
	// printf %s TacoTuesday | sha256sum
	textDigest = "sha256:ae47c84dd36aba14ed818075444e9fd61d81f54eb2b9c439d811ab8e793629d8"
	// printf '' | sha256sum
	emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func TestParseDigest(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"a digest", textDigest, nil},
		{"upper-case digits", "sha256:" + strings.ToUpper(textDigest[7:]), nil},
		{"an upper-case scheme", "SHA256:" + textDigest[7:], nil},
		{"the digest of the empty text", emptyDigest, nil},
		{"nothing", "", token.ErrDigest},
		{"the scheme alone", "sha256:", token.ErrDigest},
		{"no scheme", textDigest[7:], token.ErrDigest},
		{"another scheme", "sha512:" + textDigest[7:], token.ErrDigest},
		{"a digit too few", textDigest[:len(textDigest)-1], token.ErrDigest},
		{"a digit too many", textDigest + "0", token.ErrDigest},
		{"a letter that is no digit", textDigest[:len(textDigest)-1] + "g", token.ErrDigest},
		{"space before", " " + textDigest, token.ErrDigest},
		{"space after", textDigest + "\n", token.ErrDigest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := token.ParseDigest(tt.in)
			if !errors.Is(err, tt.want) {
				t.Fatalf("ParseDigest(%q) = %v, want %v", tt.in, err, tt.want)
			}
			if err == nil && got.String() != strings.ToLower(tt.in) {
				t.Errorf("String() = %s, want %s", got, strings.ToLower(tt.in))
			}
			if err != nil && got != (token.Digest{}) {
				t.Errorf("ParseDigest(%q) = %s beside an error", tt.in, got)
			}
		})
	}
}

func TestParseSecret(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		err            error
	}{
		{"the token itself", text, textDigest, nil},
		{"its digest", textDigest, textDigest, nil},
		{"its digest from a file with two line ends", textDigest + "\n", "", token.ErrPadded},
		{"its digest after a blank", " " + textDigest, "", token.ErrPadded},
		{"white space inside a token", "Taco Tuesday", token.NewSecret("Taco Tuesday").Digest().String(), nil},
		{"a token after a blank", " " + text, "", token.ErrPadded},
		{"a token before a line end", text + "\n", "", token.ErrPadded},
		{"a token before a tab", text + "\t", "", token.ErrPadded},
		{"a token before a no-break space", text + "\u00a0", "", token.ErrPadded},
		{"a token after a byte order mark", "\uFEFF" + text, "", token.ErrPadded},
		{"a digest after a byte order mark", "\uFEFF" + textDigest, "", token.ErrPadded},
		{"a token before a byte order mark", text + "\uFEFF", "", token.ErrPadded},
		{"only a byte order mark", "\uFEFF\r\n", "", token.ErrEmpty},
		{"a token that holds the scheme", "my-sha256:1", token.NewSecret("my-sha256:1").Digest().String(), nil},
		{"the scheme without its colon", "sha256", token.NewSecret("sha256").Digest().String(), nil},
		{"nothing", "", "", token.ErrEmpty},
		{"only space", " \t\r\n", "", token.ErrEmpty},
		{"the digest of the empty text", emptyDigest, "", token.ErrEmpty},
		{"a malformed digest is not a token", "sha256:" + text, "", token.ErrDigest},
		{"a digest cut short is not a token", textDigest[:60], "", token.ErrDigest},
		{"a malformed digest in upper case", "SHA256:", "", token.ErrDigest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := token.ParseSecret(tt.in)
			if !errors.Is(err, tt.err) {
				t.Fatalf("ParseSecret(%q) = %v, want %v", tt.in, err, tt.err)
			}
			if err == nil && got.String() != tt.want {
				t.Errorf("ParseSecret(%q) = %s, want %s", tt.in, got, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), text) {
				t.Errorf("the error contains the secret: %v", err)
			}
		})
	}
}

func TestDigestAsJSON(t *testing.T) {
	want := token.NewSecret(text).Digest()
	encoded, err := json.Marshal(want)
	if err != nil || string(encoded) != `"`+textDigest+`"` {
		t.Fatalf("Marshal = %s, %v", encoded, err)
	}
	var got token.Digest
	if err := json.Unmarshal(encoded, &got); err != nil || got != want {
		t.Errorf("Unmarshal = %s, %v, want %s", got, err, want)
	}
	if err := json.Unmarshal([]byte(`"sha256:1"`), &got); !errors.Is(err, token.ErrDigest) || got != want {
		t.Errorf("Unmarshal of a malformed digest = %s, %v, want %v and no change", got, err, token.ErrDigest)
	}
}

func FuzzParseDigest(f *testing.F) {
	for _, seed := range []string{textDigest, emptyDigest, "", "sha256:", "SHA256:" + textDigest[7:], textDigest + "0", "ſha256:", text} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := token.ParseDigest(s)
		if err != nil {
			if !errors.Is(err, token.ErrDigest) {
				t.Fatalf("ParseDigest(%q): %v is not ErrDigest", s, err)
			}
		} else if d.String() != strings.ToLower(s) {
			t.Fatalf("ParseDigest(%q) = %s", s, d)
		}
		secret, secretErr := token.ParseSecret(s)
		switch {
		case secretErr != nil && !errors.Is(secretErr, token.ErrDigest) && !errors.Is(secretErr, token.ErrEmpty) && !errors.Is(secretErr, token.ErrPadded):
			t.Fatalf("ParseSecret(%q): %v", s, secretErr)
		case secretErr == nil && err == nil && secret != d:
			t.Fatalf("ParseSecret(%q) = %s, want the digest", s, secret)
		case secretErr == nil && secret == token.NewSecret("").Digest():
			t.Fatalf("ParseSecret(%q) accepts the empty secret", s)
		}
	})
}
