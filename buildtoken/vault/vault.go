// Package vault keeps password parameters unreadable in stored data.
//
// A [Vault] encrypts passwords and computes keyed digests of parameter values
// and idempotency keys: equal inputs have equal digests, and a digest reveals
// nothing about its input without the [Key].
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Key is the secret from which a Vault derives a separate key for each use. If
// it is lost, sealed passwords cannot be opened any more.
type Key [32]byte

// NewKey returns a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails
	return k
}

// Fingerprint identifies the key without revealing it.
func (k Key) Fingerprint() []byte { return k.derive("fingerprint") }

// derive returns the key for one use.
func (k Key) derive(use string) []byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte(use))
	return mac.Sum(nil)
}

// ErrWrongKey is returned for a password that was sealed with another key.
var ErrWrongKey = errors.New("a password parameter cannot be opened: the key file is not the one with which it was queued")

// Vault seals and digests with one key. It is safe for concurrent use.
type Vault struct {
	aead                       cipher.AEAD
	values, clientKeys, shares *digesters
}

// New returns a Vault that uses key.
func New(key Key) (*Vault, error) {
	block, err := aes.NewCipher(key.derive("password"))
	if err != nil {
		return nil, fmt.Errorf("vault: key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("vault: key: %w", err)
	}
	return &Vault{
		aead: aead, values: newDigesters(key.derive("digest")),
		clientKeys: newDigesters(key.derive("idempotency key")), shares: newDigesters(key.derive("share")),
	}, nil
}

// Seal returns the values as a queue stores them, with encrypted passwords.
// Only [Vault.Open] with the same job can open these.
func (v *Vault) Seal(jobName string, given []job.Value) []queue.Value {
	if len(given) == 0 {
		return nil
	}
	values := make([]queue.Value, len(given))
	for i, g := range given {
		values[i] = queue.Value{Name: g.Name, Kind: string(g.Kind), Text: g.Text, Ref: g.Ref}
		if g.Kind == job.KindPassword {
			values[i].Text = ""
			values[i].Sealed = v.aead.Seal(nil, nil, []byte(g.Text), boundTo(jobName, g.Name)) //nolint:gosec // this AEAD makes a random nonce itself
		}
	}
	return values
}

// Open returns stored values with their passwords in clear. If one was sealed
// with another key, it returns [ErrWrongKey] with the name of the parameter.
func (v *Vault) Open(jobName string, stored []queue.Value) ([]job.Value, error) {
	values := make([]job.Value, len(stored))
	for i, s := range stored {
		values[i] = job.Value{Name: s.Name, Kind: job.Kind(s.Kind), Text: s.Text, Ref: s.Ref}
		if values[i].Kind != job.KindPassword {
			continue
		}
		text, err := v.aead.Open(nil, nil, s.Sealed, boundTo(jobName, s.Name))
		if err != nil {
			return nil, fmt.Errorf("%w (%s)", ErrWrongKey, s.Name)
		}
		values[i].Text = string(text)
	}
	return values, nil
}

// sealedEmpty is the length of a sealed empty text: the nonce and the tag.
const sealedEmpty = 12 + 16

// IsEmpty reports whether a stored password is empty. It does not need the key.
func IsEmpty(password queue.Value) bool { return len(password.Sealed) == sealedEmpty }

// boundTo returns the additional data of a sealed password: it cannot be moved
// to another job or parameter.
func boundTo(jobName, parameter string) []byte { return []byte(jobName + "\x00" + parameter) }

// Digest returns the digest of values, passwords included. No values have the
// zero digest.
func (v *Vault) Digest(given []job.Value) queue.Digest {
	if len(given) == 0 {
		return queue.Digest{}
	}
	return v.values.digest(func(d *digester) {
		for _, g := range given {
			d.add(g.Name)
			d.add(string(g.Kind))
			d.add(g.Text)
		}
	})
}

// DigestWithFiles returns the digest of values and of their files.
// contents are the concatenated SHA-256 sums of the files.
func (v *Vault) DigestWithFiles(values queue.Digest, contents []byte) queue.Digest {
	return v.values.digest(func(d *digester) {
		d.add(string(values[:]))
		d.add(string(contents))
	})
}

// DigestIdempotencyKey returns the digest of the key that a client sent.
// client identifies the client: two clients can use the same key.
func (v *Vault) DigestIdempotencyKey(key string, client ...string) queue.Digest {
	return v.clientKeys.digest(func(d *digester) {
		for _, part := range client {
			d.add(part)
		}
		d.add(key)
	})
}

// SignShare returns the signature of a share link that is bound to these texts. It is
// the same for every Vault with the same key. Compare it in constant time.
func (v *Vault) SignShare(boundTo ...string) queue.Digest {
	return v.shares.digest(func(d *digester) {
		for _, text := range boundTo {
			d.add(text)
		}
	})
}
