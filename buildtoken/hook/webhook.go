package hook

import (
	"crypto/sha1" //nolint:gosec // some senders sign with nothing else; HMAC-SHA1 is not broken
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// ErrConfig is wrapped by the errors of [New] and [ParseSecret].
var ErrConfig = errors.New("hook: bad webhook")

// Defaults and limits of a [Config].
const (
	DefaultTolerance = 5 * time.Minute
	DefaultMaxSize   = 5 << 20  // bytes
	LargestMaxSize   = 25 << 20 // bytes; GitHub and GitLab send no more
)

// Config describes one sender.
type Config struct {
	Kind event.Kind
	// Secrets are those that may have signed a delivery, at least one.
	// Several allow a change of the secret without a gap.
	Secrets []Secret
	// Header, Prefix, Algorithm and Encoding are for [event.HMAC] only. Header is
	// required. Algorithm is sha1, sha256 or sha512, Encoding hex or base64; the
	// defaults are sha256 and hex.
	Header, Prefix, Algorithm, Encoding string
	// Tolerance is how far a signed timestamp may be from now, in both
	// directions. Zero is [DefaultTolerance]. Only Standard, GitLab, Slack and
	// Stripe sign timestamps.
	Tolerance time.Duration
	// MaxSize is the size of the largest body, in bytes. Zero is [DefaultMaxSize].
	MaxSize int64
}

// Webhook verifies the deliveries of one sender. It is immutable and safe for
// concurrent use.
type Webhook struct {
	Kind    event.Kind
	MaxSize int64 // bytes

	signing   []token.SigningSecret
	tokens    token.Set
	tolerance time.Duration
	// scheme is that of the kinds with a single signature in a header.
	scheme scheme
	// identities are those of the secrets.
	identities [][32]byte
}

// Identities returns a value for each secret, which is the same wherever a webhook of this kind
// has the secret. It does not reveal the secret, unless that can be guessed. The caller must not
// change the slice.
func (w *Webhook) Identities() [][32]byte { return w.identities }

// SharesSecret reports whether one of these identities is that of a secret of w.
func (w *Webhook) SharesSecret(identities [][32]byte) bool {
	return slices.ContainsFunc(w.identities, func(id [32]byte) bool { return slices.Contains(identities, id) })
}

// identityOf returns the identity of a secret for a kind.
func identityOf(kind event.Kind, s Secret) [32]byte {
	const purpose = "identity of a webhook "
	if s.signing.IsZero() {
		return sha256.Sum256([]byte(purpose + string(kind) + " " + s.digest.String()))
	}
	mac := s.signing.MAC(sha256.New)
	_, _ = mac.Write([]byte(purpose + string(kind))) // a hash never fails
	return [32]byte(mac.Sum(nil))
}

// scheme is a signature of the whole body in one header.
type scheme struct {
	headers []string // the first that is present counts
	prefix  string
	newHash func() hash.Hash
	decode  func(string) ([]byte, error)
}

// New checks a configuration. Its errors wrap [ErrConfig].
func New(c Config) (*Webhook, error) {
	w := &Webhook{Kind: c.Kind, MaxSize: c.MaxSize, tolerance: c.Tolerance}
	if !slices.Contains(event.Kinds(), c.Kind) {
		return nil, fmt.Errorf("%w: kind %q is none of %s", ErrConfig, c.Kind, kindNames())
	}
	if len(c.Secrets) == 0 {
		return nil, fmt.Errorf("%w: it has no secret", ErrConfig)
	}
	if w.MaxSize == 0 {
		w.MaxSize = DefaultMaxSize
	}
	if w.MaxSize < 0 || w.MaxSize > LargestMaxSize {
		return nil, fmt.Errorf("%w: max_size: %d bytes is not between 1 and %d", ErrConfig, w.MaxSize, LargestMaxSize)
	}
	if err := w.setTolerance(); err != nil {
		return nil, err
	}
	if err := w.setScheme(c); err != nil {
		return nil, err
	}
	var tokens []token.Token
	for i, s := range c.Secrets {
		w.identities = append(w.identities, identityOf(c.Kind, s))
		if s.signing.IsZero() {
			tokens = append(tokens, token.Token{Name: strconv.Itoa(i + 1), Digest: s.digest})
		} else {
			w.signing = append(w.signing, s.signing)
		}
	}
	var err error
	if w.tokens, err = token.NewSet(tokens); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return w, nil
}

func kindNames() string {
	kinds := event.Kinds()
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

func (w *Webhook) setTolerance() error {
	switch {
	case w.tolerance < 0:
		return fmt.Errorf("%w: tolerance: %v is negative", ErrConfig, w.tolerance)
	case w.tolerance == 0:
		w.tolerance = DefaultTolerance
		return nil
	}
	switch w.Kind {
	case event.Standard, event.GitLab, event.Slack, event.Stripe:
		return nil
	default:
		return fmt.Errorf("%w: tolerance: a sender of kind %s signs no timestamp", ErrConfig, w.Kind)
	}
}

func (w *Webhook) setScheme(c Config) error {
	if c.Kind != event.HMAC {
		if c.Header != "" || c.Prefix != "" || c.Algorithm != "" || c.Encoding != "" {
			return fmt.Errorf("%w: header, prefix, algorithm and encoding are for kind %s only", ErrConfig, event.HMAC)
		}
		w.scheme = scheme{prefix: "sha256=", newHash: sha256.New, decode: hex.DecodeString}
		switch c.Kind {
		case event.GitHub:
			w.scheme.headers = []string{"X-Hub-Signature-256"}
		case event.Bitbucket:
			w.scheme.headers = []string{"X-Hub-Signature"}
		case event.Gitea:
			w.scheme.headers = []string{"X-Forgejo-Signature", "X-Gitea-Signature", "X-Gogs-Signature"}
			w.scheme.prefix = ""
		default:
		}
		return nil
	}
	if c.Header == "" {
		return fmt.Errorf("%w: kind %s needs the name of the header with the signature", ErrConfig, event.HMAC)
	}
	if strings.ContainsFunc(c.Header, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) {
		return fmt.Errorf("%w: header: %q is no name of a header field", ErrConfig, c.Header)
	}
	w.scheme = scheme{headers: []string{textproto.CanonicalMIMEHeaderKey(c.Header)}, prefix: c.Prefix}
	switch c.Algorithm {
	case "", "sha256":
		w.scheme.newHash = sha256.New
	case "sha1":
		w.scheme.newHash = sha1.New
	case "sha512":
		w.scheme.newHash = sha512.New
	default:
		return fmt.Errorf("%w: algorithm %q is none of sha1, sha256, sha512", ErrConfig, c.Algorithm)
	}
	switch c.Encoding {
	case "", "hex":
		w.scheme.decode = hex.DecodeString
	case "base64":
		w.scheme.decode = base64.StdEncoding.DecodeString
	default:
		return fmt.Errorf("%w: encoding %q is neither hex nor base64", ErrConfig, c.Encoding)
	}
	return nil
}

// Secret is one secret of a [Config]. The zero value is invalid.
type Secret struct {
	signing token.SigningSecret
	digest  token.Digest // instead of signing, where the sender sends the secret itself
}

// Signing returns the secret for making signatures with it; the zero value if the sender
// sends the secret itself.
func (s Secret) Signing() token.SigningSecret { return s.signing }

// signedPrefix begins the secrets of Standard Webhooks; base64 follows.
const signedPrefix = "whsec_"

// minStandardKey is the size of the shortest key that Standard Webhooks are
// verified with, in bytes. Senders use 24 to 64.
const minStandardKey = 16

// ParseSecret reads a secret of this kind, after its placeholders were replaced.
// The digest of a secret (sha256: and 64 digits) is enough where the sender sends
// the secret itself, for [event.Token]. All other kinds need it in clear. The errors
// wrap [ErrConfig] and show nothing of the text.
func ParseSecret(kind event.Kind, text string) (Secret, error) {
	if err := token.CheckSecret(text); err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	switch {
	case kind != event.Token && strings.HasPrefix(strings.ToLower(text), "sha256:"):
		return Secret{}, fmt.Errorf("%w: a sender of kind %s needs the secret in clear, not its digest", ErrConfig, kind)
	case kind == event.Token, kind == event.GitLab && !strings.HasPrefix(text, signedPrefix):
		digest, err := token.ParseSecret(text)
		if err != nil {
			return Secret{}, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		return Secret{digest: digest}, nil
	case kind == event.Standard || kind == event.GitLab:
		if strings.HasPrefix(text, "whpk_") {
			return Secret{}, fmt.Errorf("%w: the secret is a public key (whpk_); only symmetric secrets (whsec_) can be verified", ErrConfig)
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, signedPrefix))
		if err != nil {
			return Secret{}, fmt.Errorf("%w: the secret is not whsec_ and base64", ErrConfig)
		}
		if len(key) < minStandardKey {
			return Secret{}, fmt.Errorf("%w: the secret is a key of %d bytes, want at least %d", ErrConfig, len(key), minStandardKey)
		}
		return Secret{signing: token.NewSigningSecret(string(key))}, nil
	default:
		return Secret{signing: token.NewSigningSecret(text)}, nil
	}
}
