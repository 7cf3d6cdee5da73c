package token_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/token"
)

func TestSigningSecretMAC(t *testing.T) {
	mac := token.NewSigningSecret("It's a Secret to Everybody").MAC(sha256.New)
	mac.Write([]byte("Hello, World!"))
	const want = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if got := hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("MAC = %s, want %s", got, want)
	}
}

func TestSigningSecretWithoutAKeySignsNothing(t *testing.T) {
	s := token.NewSigningSecret("")
	if !s.IsZero() || token.NewSigningSecret("x").IsZero() {
		t.Error("IsZero does not distinguish a missing key from a key")
	}
	defer func() {
		if recover() == nil {
			t.Error("MAC without a key returned")
		}
	}()
	s.MAC(sha256.New)
}

func TestSigningSecretIsNeverShown(t *testing.T) {
	const key = "hunter2hunter2"
	s := token.NewSigningSecret(key)
	inside := struct {
		Exported token.SigningSecret
		hidden   token.SigningSecret
		pointer  *token.SigningSecret
	}{s, s, &s}
	encoded, err := json.Marshal(inside)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{string(encoded), s.String(), s.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, s), fmt.Sprintf(verb, inside), fmt.Sprintf(verb, []token.SigningSecret{s}))
	}
	for _, text := range shown {
		if strings.Contains(text, key) || strings.Contains(text, hex.EncodeToString([]byte(key))) {
			t.Errorf("the key shows in %q", text)
		}
	}
	if got := fmt.Sprintf("%+v", s); got != "[redacted]" {
		t.Errorf("%%+v = %q, want [redacted]", got)
	}
}
