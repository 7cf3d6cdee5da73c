package hook

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Errors of [Webhook.Begin] and [Check.Finish]. Each comes wrapped, with a reason
// for the log.
var (
	// ErrUnsigned is returned when a header of the signature is missing or malformed.
	ErrUnsigned = errors.New("hook: not signed")
	// ErrMismatch is returned when no secret of the webhook made the signature.
	ErrMismatch = errors.New("hook: wrong signature")
	// ErrStale is returned when the signed time is too far from now, in the past
	// or in the future.
	ErrStale = errors.New("hook: timestamp outside the tolerance")
)

// maxSignatures limits the signatures in one header. Senders put in one for each
// of their own secrets.
const maxSignatures = 16

// Request is what [Webhook.Begin] reads of a delivery.
type Request struct {
	Header event.Header
	Query  map[string][]string
}

// one returns the value of a header that must be there once and not be empty.
func one(h event.Header, name string) (string, error) {
	values := h[name]
	switch {
	case len(values) == 0:
		return "", fmt.Errorf("%w: %s is missing", ErrUnsigned, name)
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s is there %d times", ErrUnsigned, name, len(values))
	case values[0] == "":
		return "", fmt.Errorf("%w: %s is empty", ErrUnsigned, name)
	}
	return values[0], nil
}

// Check is the verification of one delivery. It is not safe for concurrent use.
type Check struct {
	macs       []hash.Hash
	signatures [][]byte
	payload    bool
	shown      bool // the right secret itself was presented
}

// Begin reads the headers of a delivery. The error wraps [ErrUnsigned] if the
// delivery cannot be one of this webhook, [ErrStale] if its time is wrong, and
// [ErrMismatch] if it shows a wrong secret, which is known without the body.
func (w *Webhook) Begin(now time.Time, r Request) (*Check, error) {
	switch w.Kind {
	case event.Standard:
		return w.beginStandard(now, r.Header)
	case event.GitLab:
		return w.beginGitLab(now, r.Header)
	case event.Slack:
		return w.beginSlack(now, r.Header)
	case event.Stripe:
		return w.beginStripe(now, r.Header)
	case event.Token:
		return w.beginToken(now, r)
	default:
		return w.beginScheme(r.Header)
	}
}

// Write adds a part of the body. It never fails.
func (c *Check) Write(p []byte) (int, error) {
	for _, mac := range c.macs {
		_, _ = mac.Write(p) // a hash never fails
	}
	return len(p), nil
}

// SignsPayload reports whether the signature covers the text of the form field
// "payload" instead of the body, as that of Gitea does. Then write that text.
func (c *Check) SignsPayload() bool { return c.payload }

// Finish reports whether the delivery is signed by one of the webhook's secrets:
// the error is nil, or wraps [ErrMismatch]. The time that it takes depends on the
// number of secrets and signatures only.
func (c *Check) Finish() error {
	same := 0
	for _, mac := range c.macs {
		sum := mac.Sum(nil)
		for _, s := range c.signatures {
			same |= subtle.ConstantTimeCompare(sum, s)
		}
	}
	if same == 1 || c.shown {
		return nil
	}
	return fmt.Errorf("%w: none of %d secrets made it", ErrMismatch, len(c.macs))
}

// start returns a check with one MAC for each secret, of a message that begins
// with the text.
func (w *Webhook) start(newHash func() hash.Hash, signatures [][]byte, before string) *Check {
	c := &Check{signatures: signatures}
	for _, s := range w.signing {
		mac := s.MAC(newHash)
		_, _ = mac.Write([]byte(before)) // a hash never fails
		c.macs = append(c.macs, mac)
	}
	return c
}

// beginScheme reads the one header in which a signature of the whole body is.
func (w *Webhook) beginScheme(h event.Header) (*Check, error) {
	name := w.scheme.headers[0]
	for _, other := range w.scheme.headers {
		if _, ok := h[other]; ok {
			name = other
			break
		}
	}
	value, err := one(h, name)
	if err != nil {
		return nil, err
	}
	encoded, ok := strings.CutPrefix(value, w.scheme.prefix)
	if !ok {
		return nil, fmt.Errorf("%w: %s does not begin with %s", ErrUnsigned, name, w.scheme.prefix)
	}
	signature, err := decode(name, encoded, w.scheme.decode, w.scheme.newHash().Size())
	if err != nil {
		return nil, err
	}
	c := w.start(w.scheme.newHash, [][]byte{signature}, "")
	if w.Kind == event.Gitea {
		mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
		c.payload = err == nil && mediaType == "application/x-www-form-urlencoded"
	}
	return c, nil
}

// decode reads one signature. The errors of the decoders quote the text, so they
// are left out.
func decode(name, encoded string, decoder func(string) ([]byte, error), size int) ([]byte, error) {
	signature, err := decoder(encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not encoded as it should be", ErrUnsigned, name)
	}
	if len(signature) != size {
		return nil, fmt.Errorf("%w: %s has %d bytes, want %d", ErrUnsigned, name, len(signature), size)
	}
	return signature, nil
}

func (w *Webhook) beginStandard(now time.Time, h event.Header) (*Check, error) {
	id, err := one(h, "Webhook-Id")
	if err != nil {
		return nil, err
	}
	stamp, err := w.timestamp(now, h, "Webhook-Timestamp")
	if err != nil {
		return nil, err
	}
	const name = "Webhook-Signature"
	list, err := one(h, name)
	if err != nil {
		return nil, err
	}
	var signatures [][]byte
	for part := range strings.SplitSeq(list, " ") {
		encoded, ok := strings.CutPrefix(part, "v1,")
		if !ok {
			continue // of a scheme that is not ours, as v1a
		}
		signature, err := decode(name, encoded, base64.StdEncoding.DecodeString, sha256.Size)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, signature)
	}
	if err := checkCount(name, "v1", signatures); err != nil {
		return nil, err
	}
	return w.start(sha256.New, signatures, id+"."+stamp+"."), nil
}

// beginGitLab takes what GitLab was given: a secret token, a signing token, or both
// during a rotation.
func (w *Webhook) beginGitLab(now time.Time, h event.Header) (*Check, error) {
	var refused error
	if w.tokens.Len() > 0 {
		text, err := one(h, "X-Gitlab-Token")
		if err == nil {
			if _, err = w.tokens.Check(now, token.NewSecret(text)); err == nil {
				return &Check{shown: true}, nil
			}
			err = fmt.Errorf("%w: X-Gitlab-Token is not one of its secrets", ErrMismatch)
		}
		refused = err
	}
	if len(w.signing) == 0 {
		return nil, refused
	}
	c, err := w.beginStandard(now, h)
	if errors.Is(err, ErrUnsigned) && errors.Is(refused, ErrMismatch) {
		return nil, refused
	}
	return c, err
}

func (w *Webhook) beginSlack(now time.Time, h event.Header) (*Check, error) {
	stamp, err := w.timestamp(now, h, "X-Slack-Request-Timestamp")
	if err != nil {
		return nil, err
	}
	const name = "X-Slack-Signature"
	value, err := one(h, name)
	if err != nil {
		return nil, err
	}
	encoded, ok := strings.CutPrefix(value, "v0=")
	if !ok {
		return nil, fmt.Errorf("%w: %s does not begin with v0=", ErrUnsigned, name)
	}
	signature, err := decode(name, encoded, hex.DecodeString, sha256.Size)
	if err != nil {
		return nil, err
	}
	return w.start(sha256.New, [][]byte{signature}, "v0:"+stamp+":"), nil
}

func (w *Webhook) beginStripe(now time.Time, h event.Header) (*Check, error) {
	const name = "Stripe-Signature"
	value, err := one(h, name)
	if err != nil {
		return nil, err
	}
	var stamps []string
	var signatures [][]byte
	for part := range strings.SplitSeq(value, ",") {
		key, text, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: %s has a part without =", ErrUnsigned, name)
		case key == "t":
			stamps = append(stamps, text)
		case key == "v1": // v0 is what Stripe signs test events with, besides
			signature, err := decode(name, text, hex.DecodeString, sha256.Size)
			if err != nil {
				return nil, err
			}
			signatures = append(signatures, signature)
		}
	}
	if len(stamps) != 1 {
		return nil, fmt.Errorf("%w: %s has %d timestamps, want 1", ErrUnsigned, name, len(stamps))
	}
	if err := w.checkTime(now, name, stamps[0]); err != nil {
		return nil, err
	}
	if err := checkCount(name, "v1", signatures); err != nil {
		return nil, err
	}
	return w.start(sha256.New, signatures, stamps[0]+"."), nil
}

func checkCount(name, version string, signatures [][]byte) error {
	switch n := len(signatures); {
	case n == 0:
		return fmt.Errorf("%w: %s has no signature of version %s", ErrUnsigned, name, version)
	case n > maxSignatures:
		return fmt.Errorf("%w: %s has %d signatures, at most %d are looked at", ErrUnsigned, name, n, maxSignatures)
	}
	return nil
}

// beginToken looks for the secret in every place where a sender can put it.
func (w *Webhook) beginToken(now time.Time, r Request) (*Check, error) {
	var shown []string
	if _, ok := r.Header["Authorization"]; ok {
		whole, err := one(r.Header, "Authorization")
		if err != nil {
			return nil, err
		}
		shown = append(shown, whole)
		kind, credentials, _ := strings.Cut(whole, " ")
		credentials = strings.TrimSpace(credentials)
		switch {
		case strings.EqualFold(kind, "Bearer"):
			shown = append(shown, credentials)
		case strings.EqualFold(kind, "Basic"):
			if pair, err := base64.StdEncoding.DecodeString(credentials); err == nil {
				_, password, _ := strings.Cut(string(pair), ":")
				shown = append(shown, password)
			}
		}
	}
	if values := r.Query["token"]; len(values) > 1 {
		return nil, fmt.Errorf("%w: the query has %d tokens", ErrUnsigned, len(values))
	} else if len(values) == 1 {
		shown = append(shown, values[0])
	}
	found := false
	for _, text := range shown {
		if text == "" {
			continue
		}
		found = true
		if _, err := w.tokens.Check(now, token.NewSecret(text)); err == nil {
			return &Check{shown: true}, nil
		}
	}
	if !found {
		return nil, fmt.Errorf("%w: there is neither Authorization nor a token in the query", ErrUnsigned)
	}
	return nil, fmt.Errorf("%w: neither Authorization nor the query has one of its secrets", ErrMismatch)
}

// timestamp returns the text of a header with a time in Unix seconds, if that
// time is near enough.
func (w *Webhook) timestamp(now time.Time, h event.Header, name string) (string, error) {
	text, err := one(h, name)
	if err != nil {
		return "", err
	}
	return text, w.checkTime(now, name, text)
}

func (w *Webhook) checkTime(now time.Time, name, text string) error {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || text[0] == '+' {
		return fmt.Errorf("%w: the time in %s is not in seconds", ErrUnsigned, name)
	}
	off := max(now.Unix()-seconds, seconds-now.Unix())
	if off > int64(w.tolerance/time.Second) {
		return fmt.Errorf("%w: the time in %s is %d s away, the limit is %v", ErrStale, name, off, w.tolerance)
	}
	return nil
}
