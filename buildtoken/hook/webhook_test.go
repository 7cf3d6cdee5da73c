package hook_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
)

func TestNewRefuses(t *testing.T) {
	good := secrets(t, event.GitHub, "s3cret")
	for _, tt := range []struct {
		name   string
		config hook.Config
		want   string
	}{
		{"an unknown kind", hook.Config{Kind: "githb", Secrets: good}, `kind "githb" is none of github, gitlab`},
		{"no secret", hook.Config{Kind: event.GitHub}, "no secret"},
		{"hmac without a header", hook.Config{Kind: event.HMAC, Secrets: good}, "needs the name of the header"},
		{"a header of another kind", hook.Config{Kind: event.GitHub, Secrets: good, Header: "X"}, "for kind hmac only"},
		{"a prefix of another kind", hook.Config{Kind: event.GitHub, Secrets: good, Prefix: "X"}, "for kind hmac only"},
		{"an algorithm of another kind", hook.Config{Kind: event.GitHub, Secrets: good, Algorithm: "sha1"}, "for kind hmac only"},
		{"an encoding of another kind", hook.Config{Kind: event.GitHub, Secrets: good, Encoding: "hex"}, "for kind hmac only"},
		{"a header with a colon", hook.Config{Kind: event.HMAC, Secrets: good, Header: "X-Signature:"}, `"X-Signature:" is no name`},
		{"an unknown algorithm", hook.Config{Kind: event.HMAC, Secrets: good, Header: "X", Algorithm: "md5"}, `algorithm "md5"`},
		{"an unknown encoding", hook.Config{Kind: event.HMAC, Secrets: good, Header: "X", Encoding: "base32"}, `encoding "base32"`},
		{"a tolerance where no time is signed", hook.Config{Kind: event.GitHub, Secrets: good, Tolerance: time.Minute}, "signs no timestamp"},
		{"a negative tolerance", hook.Config{Kind: event.Slack, Secrets: good, Tolerance: -1}, "negative"},
		{"a body that is too large", hook.Config{Kind: event.GitHub, Secrets: good, MaxSize: 25<<20 + 1}, "max_size"},
		{"a secret that is none", hook.Config{Kind: event.GitHub, Secrets: []hook.Secret{{}}}, "empty secret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := hook.New(tt.config)
			if !errors.Is(err, hook.ErrConfig) || w != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, %v, want nil and ErrConfig with %q", w, err, tt.want)
			}
		})
	}
}

func TestParseSecret(t *testing.T) {
	const digest = "sha256:ae47c84dd36aba14ed818075444e9fd61d81f54eb2b9c439d811ab8e793629d8"
	for _, tt := range []struct {
		name string
		kind event.Kind
		text string
		want string // "" is no error
	}{
		{"a text", event.GitHub, "s3cret", ""},
		{"a text before a line end", event.GitHub, "s3cret\r\n", "white space"},
		{"a digest for token", event.Token, digest, ""},
		{"a digest for github", event.GitHub, digest, "in clear"},
		{"a digest for gitlab", event.GitLab, digest, "in clear"},
		{"half a digest for token", event.Token, digest[:30], "malformed digest"},
		{"nothing", event.GitHub, "", "empty secret"},
		{"a line end alone", event.GitHub, "\n", "empty secret"},
		{"a space before it", event.GitHub, " s3cret", "white space"},
		{"two line ends", event.GitHub, "s3cret\n\n", "white space"},
		{"a byte order mark", event.GitHub, "\ufeffs3cret", "byte order mark"},
		{"a byte order mark behind it", event.GitHub, "s3cret\ufeff", "byte order mark"},
		{"a signing secret of GitLab", event.GitLab, gitlabKey, ""},
		{"one that is no base64", event.GitLab, "whsec_s3cret?", "whsec_ and base64"},
		{"one that is too short", event.Standard, "whsec_czNjcmV0", "6 bytes"},
		{"the shortest", event.Standard, "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")), ""},
		{"one byte less", event.Standard, "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcde")), "15 bytes"},
		{"standard without whsec_", event.Standard, strings.TrimPrefix(gitlabKey, "whsec_"), ""},
		{"a public key", event.Standard, "whpk_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=", "public key"},
		{"Stripe does not decode it", event.Stripe, "whsec_test_secret", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := hook.ParseSecret(tt.kind, tt.text)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("ParseSecret = %v, want nil", err)
				}
				if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(shown, "s3cret") {
					t.Errorf("the secret shows: %s", shown)
				}
				return
			}
			if !errors.Is(err, hook.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseSecret = %v, want ErrConfig with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	w := newWebhook(t, hook.Config{Kind: event.GitHub}, "x")
	if w.MaxSize != 5<<20 {
		t.Errorf("MaxSize = %d, want 5 MiB", w.MaxSize)
	}
	if w = newWebhook(t, hook.Config{Kind: event.GitHub, MaxSize: 25 << 20}, "x"); w.MaxSize != 25<<20 {
		t.Errorf("MaxSize = %d, want 25 MiB", w.MaxSize)
	}
}
