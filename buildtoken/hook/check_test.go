package hook_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
)

const (
	everybody = "It's a Secret to Everybody"
	ref       = `{"ref":"refs/heads/main"}`
	slackBody = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	gitlabKey = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q="
)

// headers returns a Header of alternating names and values.
func headers(namesAndValues ...string) event.Header {
	h := event.Header{}
	for i := 0; i < len(namesAndValues); i += 2 {
		h[namesAndValues[i]] = append(h[namesAndValues[i]], namesAndValues[i+1])
	}
	return h
}

func secrets(t testing.TB, kind event.Kind, texts ...string) []hook.Secret {
	t.Helper()
	var all []hook.Secret
	for _, text := range texts {
		s, err := hook.ParseSecret(kind, text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func newWebhook(t testing.TB, c hook.Config, texts ...string) *hook.Webhook {
	t.Helper()
	c.Secrets = secrets(t, c.Kind, texts...)
	w, err := hook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// verify checks a delivery as a server does. The body arrives in pieces.
func verify(w *hook.Webhook, now time.Time, r hook.Request, body, payload string) error {
	check, err := w.Begin(now, r)
	if err != nil {
		return err
	}
	if check.SignsPayload() {
		body = payload
	}
	half := len(body) / 2
	for _, piece := range []string{body[:half], body[half:]} {
		if _, err := check.Write([]byte(piece)); err != nil {
			return err
		}
	}
	return check.Finish()
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func sign(newHash func() hash.Hash, key, message string) []byte {
	mac := hmac.New(newHash, []byte(key))
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// The vectors that vendors publish, and some that other tools have computed.
func TestPublishedVectors(t *testing.T) {
	const form = "payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D"
	for _, tt := range []struct {
		name   string
		kind   event.Kind
		secret string
		now    time.Time
		header event.Header
		body   string
		// payload returns the form field of a body that is a form.
		payload string
	}{
		{
			name: "GitHub", kind: event.GitHub, secret: everybody, body: "Hello, World!",
			header: headers("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
		},
		{
			name: "Bitbucket", kind: event.Bitbucket, secret: everybody, body: "Hello World!",
			header: headers("X-Hub-Signature", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"),
		},
		{
			name: "Standard Webhooks", kind: event.Standard, secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			now: at(1614265330), body: `{"test": 2432232314}`,
			header: headers("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "Webhook-Timestamp", "1614265330",
				"Webhook-Signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
		},
		{
			name: "Slack", kind: event.Slack, secret: "8f742231b10e8888abcd99yyyzzz85a5", now: at(1531420618), body: slackBody,
			header: headers("X-Slack-Request-Timestamp", "1531420618",
				"X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
		},
		{
			name: "GitHub signs the bytes of a form", kind: event.GitHub, secret: everybody, body: form, payload: ref,
			header: headers("Content-Type", "application/x-www-form-urlencoded",
				"X-Hub-Signature-256", "sha256=720493f557150a271b7cfdd9904c5fe4697f30c44588f8b452d36abc47b8796c"),
		},
		{
			name: "Gitea signs the JSON inside a form", kind: event.Gitea, secret: everybody, body: form, payload: ref,
			header: headers("Content-Type", "application/x-www-form-urlencoded",
				"X-Gitea-Signature", "6a42699496d8c4fb346af1c930df527931a321e28ada69dbc5ee82f438517fd2"),
		},
		{
			name: "Forgejo signs JSON", kind: event.Gitea, secret: everybody, body: ref,
			header: headers("Content-Type", "application/json", "X-Gitea-Signature", strings.Repeat("0", 64),
				"X-Forgejo-Signature", "6a42699496d8c4fb346af1c930df527931a321e28ada69dbc5ee82f438517fd2"),
		},
		{
			name: "Gogs", kind: event.Gitea, secret: everybody, body: ref,
			header: headers("X-Gogs-Signature", "6a42699496d8c4fb346af1c930df527931a321e28ada69dbc5ee82f438517fd2"),
		},
		{
			name: "UTF-8", kind: event.GitHub, secret: everybody, body: `{"m":"🚀é"}`,
			header: headers("X-Hub-Signature-256", "sha256=31975d2dd40ba8104db830f94ce1bd5b0cfd92dc2dfc88c11d6d83fcdac287c1"),
		},
		{
			name: "Stripe", kind: event.Stripe, secret: "whsec_test_secret", now: at(1700000000), body: ref,
			header: headers("Stripe-Signature", "t=1700000000,v1=bdafa8c6192de6b01bfe3d11587e93bc5e0a798e0fda80d56594af7b015e69d6"),
		},
		{
			name: "GitLab with a signing token", kind: event.GitLab, secret: gitlabKey, now: at(1700000000), body: ref,
			header: headers("Webhook-Id", "11111111-2222-3333-4444-555555555555", "Webhook-Timestamp", "1700000000",
				"Webhook-Signature", "v1,W8dTDmNPWF1m+Hzid0RMP5zetu0CyErRmLRaZiB8b6Y="),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWebhook(t, hook.Config{Kind: tt.kind}, tt.secret)
			r := hook.Request{Header: tt.header}
			if err := verify(w, tt.now, r, tt.body, tt.payload); err != nil {
				t.Errorf("verify = %v, want nil", err)
			}
			if err := verify(w, tt.now, r, tt.body+" ", tt.payload+" "); !errors.Is(err, hook.ErrMismatch) {
				t.Errorf("verify of another body = %v, want ErrMismatch", err)
			}
			if err := verify(w, tt.now, r, "", ""); !errors.Is(err, hook.ErrMismatch) {
				t.Errorf("verify of no body = %v, want ErrMismatch", err)
			}
			other := newWebhook(t, hook.Config{Kind: tt.kind}, otherSecret(tt.kind))
			if err := verify(other, tt.now, r, tt.body, tt.payload); !errors.Is(err, hook.ErrMismatch) {
				t.Errorf("verify with another secret = %v, want ErrMismatch", err)
			}
			// During a change of the secret, the sender can use either.
			both := newWebhook(t, hook.Config{Kind: tt.kind}, otherSecret(tt.kind), tt.secret)
			if err := verify(both, tt.now, r, tt.body, tt.payload); err != nil {
				t.Errorf("verify with two secrets = %v, want nil", err)
			}
		})
	}
}

func otherSecret(kind event.Kind) string {
	if kind == event.Standard || kind == event.GitLab {
		return "whsec_" + base64.StdEncoding.EncodeToString([]byte("another key of 24 bytes!"))
	}
	return "another"
}

// Every form of a header that other programs have accepted by mistake.
func TestSignatureHeaderShapes(t *testing.T) {
	const now = 1700000000
	stamp := strconv.Itoa(now)
	hexOf := func(newHash func() hash.Hash, message string) string {
		return hex.EncodeToString(sign(newHash, everybody, message))
	}
	body := ref
	std := "v1," + base64.StdEncoding.EncodeToString(sign(sha256.New, "testtesttesttesttesttesttesttest", "id."+stamp+"."+body))
	for _, kind := range []struct {
		name   string
		config hook.Config
		secret string
		header string
		good   string
		more   event.Header // the other headers that the kind needs
	}{
		{"github", hook.Config{Kind: event.GitHub}, everybody, "X-Hub-Signature-256", "sha256=" + hexOf(sha256.New, body), nil},
		{"bitbucket", hook.Config{Kind: event.Bitbucket}, everybody, "X-Hub-Signature", "sha256=" + hexOf(sha256.New, body), nil},
		{"gitea", hook.Config{Kind: event.Gitea}, everybody, "X-Gitea-Signature", hexOf(sha256.New, body), nil},
		{"slack", hook.Config{Kind: event.Slack}, everybody, "X-Slack-Signature", "v0=" + hexOf(sha256.New, "v0:"+stamp+":"+body), headers("X-Slack-Request-Timestamp", stamp)},
		{"stripe", hook.Config{Kind: event.Stripe}, everybody, "Stripe-Signature", "t=" + stamp + ",v1=" + hexOf(sha256.New, stamp+"."+body), nil},
		{"standard", hook.Config{Kind: event.Standard}, gitlabKey, "Webhook-Signature", std, headers("Webhook-Id", "id", "Webhook-Timestamp", stamp)},
		{"gitlab, signed", hook.Config{Kind: event.GitLab}, gitlabKey, "Webhook-Signature", std, headers("Webhook-Id", "id", "Webhook-Timestamp", stamp)},
		{"gitlab, token", hook.Config{Kind: event.GitLab}, everybody, "X-Gitlab-Token", everybody, nil},
		{"hmac with SHA-1", hook.Config{Kind: event.HMAC, Header: "x-sig", Algorithm: "sha1", Prefix: "sha1="}, everybody, "X-Sig", "sha1=" + hexOf(sha1.New, body), nil},
		{"hmac with SHA-512", hook.Config{Kind: event.HMAC, Header: "X-Sig", Algorithm: "sha512"}, everybody, "X-Sig", hexOf(sha512.New, body), nil},
		{"hmac in base64", hook.Config{Kind: event.HMAC, Header: "X-Sig", Encoding: "base64"}, everybody, "X-Sig", base64.StdEncoding.EncodeToString(sign(sha256.New, everybody, body)), nil},
		{"token", hook.Config{Kind: event.Token}, everybody, "Authorization", "Bearer " + everybody, nil},
	} {
		w := newWebhook(t, kind.config, kind.secret)
		prefix := kind.good[:strings.LastIndexAny(kind.good[:len(kind.good)-2], "=,")+1]
		for _, tt := range []struct {
			name   string
			values []string
			want   error // nil: verified
		}{
			{"as the sender makes it", []string{kind.good}, nil},
			{"missing", nil, hook.ErrUnsigned},
			{"empty", []string{""}, hook.ErrUnsigned},
			{"the prefix alone", []string{prefix}, hook.ErrUnsigned},
			{"three characters", []string{"abc"}, hook.ErrUnsigned},
			{"cut short", []string{kind.good[:len(kind.good)-2]}, hook.ErrUnsigned},
			{"too long", []string{kind.good + kind.good}, hook.ErrUnsigned},
			{"without the prefix", []string{strings.TrimPrefix(kind.good, prefix)}, hook.ErrUnsigned},
			{"another prefix", []string{"md5=" + strings.TrimPrefix(kind.good, prefix)}, hook.ErrUnsigned},
			{"two headers", []string{kind.good, kind.good}, hook.ErrUnsigned},
			{"a wrong one and the right one", []string{prefix + strings.Repeat("0", 64), kind.good}, hook.ErrUnsigned},
			{"not encoded", []string{prefix + strings.Repeat("?", 64)}, hook.ErrUnsigned},
			{"all zeros", []string{prefix + strings.Repeat("0", len(kind.good)-len(prefix))}, hook.ErrMismatch},
		} {
			t.Run(kind.name+"/"+tt.name, func(t *testing.T) {
				h := headers("Content-Type", "application/json")
				for name, values := range kind.more {
					h[name] = values
				}
				if tt.values != nil {
					h[kind.header] = tt.values
				}
				err := verify(w, at(now), hook.Request{Header: h}, body, "")
				secretItself := kind.config.Kind == event.Token || kind.header == "X-Gitlab-Token"
				switch {
				case tt.want == nil && err == nil:
				case tt.want != nil && prefix == "" && strings.Contains(tt.name, "prefix"): // there is no prefix to leave out
				case tt.want == nil:
					t.Errorf("verify = %v, want nil", err)
				case secretItself && len(tt.values) == 1 && errors.Is(err, hook.ErrMismatch): // any text is well-formed
				case !secretItself && errors.Is(tt.want, hook.ErrMismatch) && errors.Is(err, hook.ErrUnsigned): // zeros are not base64 of that length
				case !errors.Is(err, tt.want):
					t.Errorf("verify = %v, want %v", err, tt.want)
				}
				if err != nil && (strings.Contains(err.Error(), everybody) || len(tt.values) == 1 && len(tt.values[0]) > 3 && strings.Contains(err.Error(), tt.values[0][3:])) {
					t.Errorf("the reason shows what was presented: %v", err)
				}
			})
		}
	}
}

func TestUpperCaseHexIsTheSameSignature(t *testing.T) {
	w := newWebhook(t, hook.Config{Kind: event.GitHub}, everybody)
	digits := strings.ToUpper(hex.EncodeToString(sign(sha256.New, everybody, ref)))
	if err := verify(w, at(0), hook.Request{Header: headers("X-Hub-Signature-256", "sha256="+digits)}, ref, ""); err != nil {
		t.Errorf("verify = %v, want nil", err)
	}
}

func TestTimestampsAreCheckedBothWays(t *testing.T) {
	const now = 1700000000
	for _, tt := range []struct {
		name      string
		stamp     string
		tolerance time.Duration
		want      error
	}{
		{"now", "1700000000", 0, nil},
		{"five minutes ago", "1699999700", 0, nil},
		{"more than five minutes ago", "1699999699", 0, hook.ErrStale},
		{"in five minutes", "1700000300", 0, nil},
		{"in more than five minutes", "1700000301", 0, hook.ErrStale},
		{"within a tolerance of its own", "1699999940", time.Minute, nil},
		{"outside of it", "1700000061", time.Minute, hook.ErrStale},
		{"empty", "", 0, hook.ErrUnsigned},
		{"no number", "yesterday", 0, hook.ErrUnsigned},
		{"a sign", "+1700000000", 0, hook.ErrUnsigned},
		{"negative", "-1700000000", 0, hook.ErrUnsigned},
		{"1970", "0", 0, hook.ErrStale},
		{"milliseconds", "1700000000000", 0, hook.ErrStale},
		{"as large as it gets", "9223372036854775807", 0, hook.ErrStale},
		{"larger", "9223372036854775808", 0, hook.ErrUnsigned},
		{"a fraction", "1700000000.0", 0, hook.ErrUnsigned},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, kind := range []event.Kind{event.Standard, event.Slack, event.Stripe} {
				secret, h := everybody, event.Header(nil)
				switch kind {
				case event.Standard:
					secret = gitlabKey
					sum := sign(sha256.New, "testtesttesttesttesttesttesttest", "id."+tt.stamp+"."+ref)
					h = headers("Webhook-Id", "id", "Webhook-Timestamp", tt.stamp, "Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(sum))
				case event.Slack:
					h = headers("X-Slack-Request-Timestamp", tt.stamp, "X-Slack-Signature", "v0="+hex.EncodeToString(sign(sha256.New, secret, "v0:"+tt.stamp+":"+ref)))
				default:
					h = headers("Stripe-Signature", "t="+tt.stamp+",v1="+hex.EncodeToString(sign(sha256.New, secret, tt.stamp+"."+ref)))
				}
				w := newWebhook(t, hook.Config{Kind: kind, Tolerance: tt.tolerance}, secret)
				err := verify(w, at(now).Add(900*time.Millisecond), hook.Request{Header: h}, ref, "")
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: verify = %v, want %v", kind, err, tt.want)
				}
			}
		})
	}
}

func TestSeveralSignaturesInOneHeader(t *testing.T) {
	const now = 1700000000
	zeros := base64.StdEncoding.EncodeToString(make([]byte, 32))
	sum := base64.StdEncoding.EncodeToString(sign(sha256.New, "testtesttesttesttesttesttesttest", "id.1700000000."+ref))
	digits := hex.EncodeToString(sign(sha256.New, everybody, "1700000000."+ref))
	for _, tt := range []struct {
		name, header, value string
		want                error
	}{
		{"the second is right", "Webhook-Signature", "v1," + zeros + " v1," + sum, nil},
		{"one of another version comes first", "Webhook-Signature", "v1a,abc v1," + sum, nil},
		{"only another version", "Webhook-Signature", "v1a," + sum, hook.ErrUnsigned},
		{"a malformed one among them", "Webhook-Signature", "v1,abc v1," + sum, hook.ErrUnsigned},
		{"as many as there may be", "Webhook-Signature", strings.Repeat("v1,"+zeros+" ", 15) + "v1," + sum, nil},
		{"too many", "Webhook-Signature", strings.Repeat("v1,"+zeros+" ", 16) + "v1," + sum, hook.ErrUnsigned},
		{"stripe: the second is right", "Stripe-Signature", "t=1700000000,v1=" + strings.Repeat("0", 64) + ",v1=" + digits, nil},
		{"stripe: another version does not count", "Stripe-Signature", "t=1700000000,v0=" + digits, hook.ErrUnsigned},
		{"stripe: two times", "Stripe-Signature", "t=1,t=1700000000,v1=" + digits, hook.ErrUnsigned},
		{"stripe: no time", "Stripe-Signature", "v1=" + digits, hook.ErrUnsigned},
		{"stripe: a part without =", "Stripe-Signature", "t=1700000000,v1", hook.ErrUnsigned},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, secret := hook.Config{Kind: event.Standard}, gitlabKey
			if strings.HasPrefix(tt.name, "stripe") {
				c, secret = hook.Config{Kind: event.Stripe}, everybody
			}
			h := headers("Webhook-Id", "id", "Webhook-Timestamp", "1700000000", tt.header, tt.value)
			if err := verify(newWebhook(t, c, secret), at(now), hook.Request{Header: h}, ref, ""); !errors.Is(err, tt.want) {
				t.Errorf("verify = %v, want %v", err, tt.want)
			}
		})
	}
}

// The ID is part of what Standard Webhooks sign, so a copy under another ID is refused.
func TestSignedIDCannotBeReplaced(t *testing.T) {
	h := headers("Webhook-Id", "another", "Webhook-Timestamp", "1614265330", "Webhook-Signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	w := newWebhook(t, hook.Config{Kind: event.Standard}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err := verify(w, at(1614265330), hook.Request{Header: h}, `{"test": 2432232314}`, ""); !errors.Is(err, hook.ErrMismatch) {
		t.Errorf("verify = %v, want ErrMismatch", err)
	}
}

func TestGitLabWithASigningSecretTakesNoTokens(t *testing.T) {
	h := headers("X-Gitlab-Token", gitlabKey)
	if err := verify(newWebhook(t, hook.Config{Kind: event.GitLab}, gitlabKey), at(0), hook.Request{Header: h}, ref, ""); !errors.Is(err, hook.ErrUnsigned) {
		t.Errorf("verify = %v, want ErrUnsigned", err)
	}
	// During a rotation either is enough.
	both := newWebhook(t, hook.Config{Kind: event.GitLab}, everybody, gitlabKey)
	for _, tt := range []struct {
		name string
		h    event.Header
		want error
	}{
		{"the token", headers("X-Gitlab-Token", everybody), nil},
		{"a wrong token", headers("X-Gitlab-Token", "x"), hook.ErrMismatch},
		{"a signature", headers("Webhook-Id", "11111111-2222-3333-4444-555555555555", "Webhook-Timestamp", "1700000000",
			"Webhook-Signature", "v1,W8dTDmNPWF1m+Hzid0RMP5zetu0CyErRmLRaZiB8b6Y="), nil},
		{"neither", headers(), hook.ErrUnsigned},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := verify(both, at(1700000000), hook.Request{Header: tt.h}, ref, ""); !errors.Is(err, tt.want) {
				t.Errorf("verify = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestTokenIsFoundInEveryPlace(t *testing.T) {
	digest := sha256.Sum256([]byte(everybody))
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	for _, tt := range []struct {
		name   string
		header event.Header
		query  map[string][]string
		want   error
	}{
		{"Bearer", headers("Authorization", "Bearer "+everybody), nil, nil},
		{"Bearer in lower case", headers("Authorization", "bearer "+everybody), nil, nil},
		{"Bearer with spaces around it", headers("Authorization", "Bearer  "+everybody+" "), nil, nil},
		{"the password of Basic", headers("Authorization", basic("anyone:"+everybody)), nil, nil},
		{"the user of Basic", headers("Authorization", basic(everybody+":")), nil, hook.ErrMismatch},
		{"the whole of Authorization", headers("Authorization", everybody), nil, nil},
		{"the query", headers(), map[string][]string{"token": {everybody}}, nil},
		{"the query beside an account", headers("Authorization", basic("proxy:other")), map[string][]string{"token": {everybody}}, nil},
		{"two in the query", headers(), map[string][]string{"token": {everybody, everybody}}, hook.ErrUnsigned},
		{"two headers", headers("Authorization", "x", "Authorization", "Bearer "+everybody), nil, hook.ErrUnsigned},
		{"an empty one in the query", headers(), map[string][]string{"token": {""}}, hook.ErrUnsigned},
		{"nothing", headers(), nil, hook.ErrUnsigned},
		{"another", headers("Authorization", "Bearer x"), nil, hook.ErrMismatch},
		{"the digest itself", headers("Authorization", "sha256:"+hex.EncodeToString(digest[:])), nil, hook.ErrMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, secret := range []string{everybody, "sha256:" + hex.EncodeToString(digest[:])} {
				w := newWebhook(t, hook.Config{Kind: event.Token}, secret)
				if err := verify(w, at(0), hook.Request{Header: tt.header, Query: tt.query}, "", ""); !errors.Is(err, tt.want) {
					t.Errorf("verify = %v, want %v", err, tt.want)
				}
			}
		})
	}
}

// A valid HMAC of an empty body: some senders have none.
func TestEmptyBodyIsSigned(t *testing.T) {
	w := newWebhook(t, hook.Config{Kind: event.HMAC, Header: "X-Sig"}, everybody)
	h := headers("X-Sig", hex.EncodeToString(sign(sha256.New, everybody, "")))
	if err := verify(w, at(0), hook.Request{Header: h}, "", ""); err != nil {
		t.Errorf("verify = %v, want nil", err)
	}
}
