package token_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/token"
)

const text = "TacoTuesday"

// holders are the ways in which another struct can contain a secret.
func holders() map[string]any {
	s := token.NewSecret(text)
	type inner struct{ secret token.Secret }
	return map[string]any{
		"itself":                    s,
		"a pointer to it":           &s,
		"an exported field":         struct{ Secret token.Secret }{s},
		"an unexported field":       inner{s},
		"a pointer to such a field": &inner{s},
		"two levels down":           struct{ in inner }{inner{s}},
		"embedded":                  struct{ token.Secret }{s},
		"a slice":                   []token.Secret{s},
		"an array":                  [1]token.Secret{s},
		"a map's value":             map[string]token.Secret{"token": s},
		"a map's key":               map[token.Secret]bool{s: true},
		"an interface":              struct{ v any }{s},
		"a slice of structs":        []inner{{s}},
		"a pointer in a field":      struct{ secret *token.Secret }{&s},
	}
}

// tells reports whether shown contains the secret or its digest in any form in which it could
// be printed.
func tells(shown string) bool {
	digest := token.NewSecret(text).Digest()
	for _, form := range []string{
		text,
		fmt.Sprintf("%x", text),
		fmt.Sprintf("% x", text),
		strings.Trim(fmt.Sprintf("%d", []byte(text)), "[]"),
		strings.TrimPrefix(digest.String(), "sha256:"),
		strings.Trim(fmt.Sprintf("%d", digest[:8]), "[]"),
		string(digest[:8]),
		strings.Trim(fmt.Sprintf("%q", digest[:8]), `"`),
	} {
		if strings.Contains(strings.ToLower(shown), strings.ToLower(form)) {
			return true
		}
	}
	return false
}

func TestSecretIsNeverPrinted(t *testing.T) {
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%p", "%U", "%c", "%e", "%o", "%b", "%O", "%+q", "%#x", "%10v", "%T %v", "%w"}
	for name, held := range holders() {
		t.Run(name, func(t *testing.T) {
			for _, verb := range verbs {
				args := []any{held, held}[:strings.Count(verb, "%")]
				if shown := fmt.Sprintf(verb, args...); tells(shown) {
					t.Errorf("Sprintf(%q) = %s", verb, shown)
				}
			}
			if err := fmt.Errorf("trigger %v: %w", held, errors.New("no")); tells(err.Error()) {
				t.Errorf("Errorf = %v", err)
			}
		})
	}
}

func TestSecretPrintsRedacted(t *testing.T) {
	for name, s := range map[string]token.Secret{"a secret": token.NewSecret(text), "the zero value": {}} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				if got := fmt.Sprintf(verb, s); got != "[redacted]" {
					t.Errorf("Sprintf(%q) = %q, want [redacted]", verb, got)
				}
			}
			if got := fmt.Sprintf("%+v", struct{ S *token.Secret }{&s}); strings.Contains(got, text) {
				t.Errorf("Sprintf of a struct = %q", got)
			}
			if got := s.String() + s.GoString(); got != "[redacted][redacted]" {
				t.Errorf("String and GoString = %q", got)
			}
		})
	}
}

func TestSecretIsNeverEncoded(t *testing.T) {
	for name, held := range holders() {
		t.Run(name, func(t *testing.T) {
			encoded, err := json.Marshal(held)
			if err != nil {
				encoded = []byte(err.Error()) // a map with such keys cannot be encoded; the error must not contain the secret either
			}
			if tells(string(encoded)) {
				t.Errorf("json.Marshal = %s", encoded)
			}
			var out bytes.Buffer
			if err := gob.NewEncoder(&out).Encode(held); err != nil {
				out.WriteString(err.Error()) // it finds no exported field
			}
			if tells(out.String()) {
				t.Errorf("gob encoded %q", &out)
			}
		})
	}
	encoded, err := json.Marshal(struct {
		Token token.Secret `json:"token"`
	}{token.NewSecret(text)})
	if want := `{"token":"[redacted]"}`; err != nil || string(encoded) != want {
		t.Errorf("json.Marshal = %s, %v, want %s", encoded, err, want)
	}
}

func TestSecretIsNeverLogged(t *testing.T) {
	for name, held := range holders() {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zapcore.DebugLevel)
			zap.New(core).Info("triggered", zap.Any("held", held), zap.Reflect("reflected", held))
			zap.New(core).Sugar().Infow(fmt.Sprint(held), "held", held)
			encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
			for _, entry := range logs.All() {
				line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
				if err != nil {
					t.Fatal(err)
				}
				if tells(line.String()) {
					t.Errorf("zap logged %s", line)
				}
			}
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).Info("triggered", "held", held)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("triggered", "held", held)
			if tells(out.String()) {
				t.Errorf("slog logged %s", &out)
			}
		})
	}
}

// TestTellsFindsSecrets verifies that the tests above can fail.
func TestTellsFindsSecrets(t *testing.T) {
	careless := struct{ secret string }{text}
	for _, shown := range []string{
		fmt.Sprintf("%+v", careless),
		fmt.Sprintf("%x", text),
		fmt.Sprintf("%d", []byte(text)),
		token.NewSecret(text).Digest().String(),
		fmt.Sprint([32]byte(token.NewSecret(text).Digest())),
		fmt.Sprintf("%q", [32]byte(token.NewSecret(text).Digest())),
	} {
		if !tells(shown) {
			t.Errorf("tells(%q) = false", shown)
		}
	}
}

func TestSecretIsZero(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   token.Secret
		want bool
	}{
		{"the zero value", token.Secret{}, true},
		{"the empty text", token.NewSecret(""), true},
		{"a space", token.NewSecret(" "), false},
		{"a token", token.NewSecret(text), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.IsZero(); got != tt.want {
				t.Errorf("IsZero() = %t, want %t", got, tt.want)
			}
		})
	}
}
