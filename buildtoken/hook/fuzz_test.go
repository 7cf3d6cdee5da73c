package hook_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
)

// FuzzBegin tries signature headers of an attacker with every kind. None may cause a panic, and
// none may verify, because the attacker does not know the secrets.
func FuzzBegin(f *testing.F) {
	for _, seed := range []string{
		"", "sha256=", "sha256=00", "sha256=" + strings.Repeat("0", 64), "v0=", "v1,", "v1, v1a,x", "t=1700000000,v1=", "t=,v1=00,t=",
		"Basic Og==", "Basic x", "Bearer ", "sha1=" + strings.Repeat("f", 40), "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	} {
		f.Add(seed, "1700000000", "application/json", ref)
	}
	f.Add(strings.Repeat("0", 64), "-1", "application/x-www-form-urlencoded; charset", "payload=%7B%7D")
	var all []*hook.Webhook
	for _, kind := range event.Kinds() {
		c, secret := hook.Config{Kind: kind}, "a secret that fuzzing does not find"
		switch kind {
		case event.HMAC:
			c.Header, c.Encoding = "X-Sig", "base64"
		case event.Standard, event.GitLab:
			secret = gitlabKey
		default:
		}
		all = append(all, newWebhook(f, c, secret))
	}
	names := []string{
		"X-Hub-Signature-256", "X-Hub-Signature", "X-Gitea-Signature", "X-Gitlab-Token", "Webhook-Signature",
		"X-Slack-Signature", "Stripe-Signature", "X-Sig", "Authorization",
	}
	f.Fuzz(func(t *testing.T, signature, stamp, contentType, body string) {
		h := headers("Content-Type", contentType, "Webhook-Id", stamp, "Webhook-Timestamp", stamp, "X-Slack-Request-Timestamp", stamp)
		for _, name := range names {
			h[name] = []string{signature}
		}
		for _, w := range all {
			err := verify(w, at(1700000000), hook.Request{Header: h, Query: map[string][]string{"token": {stamp}}}, body, body)
			if !errors.Is(err, hook.ErrUnsigned) && !errors.Is(err, hook.ErrMismatch) && !errors.Is(err, hook.ErrStale) {
				t.Errorf("%s: verify of %q = %v, want a refusal", w.Kind, signature, err)
			}
		}
	})
}

// FuzzParseSecret verifies that no error contains its input.
func FuzzParseSecret(f *testing.F) {
	for _, seed := range []string{"", "whsec_", gitlabKey, "sha256:", "whpk_abcdefgh", "abcdefgh\n", "\ufeffabcdefgh"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range event.Kinds() {
			_, err := hook.ParseSecret(kind, text)
			if err != nil && !errors.Is(err, hook.ErrConfig) {
				t.Errorf("%s: ParseSecret = %v, want ErrConfig", kind, err)
			}
			if trimmed := strings.TrimSpace(text); err != nil && len(trimmed) > 40 && strings.Contains(err.Error(), trimmed) {
				t.Errorf("%s: the error shows the secret: %v", kind, err)
			}
		}
	})
}
