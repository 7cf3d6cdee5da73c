package buildtoken

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// KeepShares is how long a share link is valid.
const KeepShares = 30 * 24 * time.Hour

// share is what a share link shows: an item of a job, until an instant.
type share struct {
	item    int64
	expires int64 // Unix time in seconds
	job     string
}

// shareHead is the length of what precedes the job's name in a link: signature, item
// and expiry.
const shareHead = len(queue.Digest{}) + 8 + 8

// sign returns the signature of a share for a token. It changes with everything that it
// is bound to, so a token that is removed, moved or changed takes its links with it.
func (c *Controller) sign(s share, t token.Token) queue.Digest {
	return c.vault.SignShare(strconv.FormatInt(s.item, 10), strconv.FormatInt(s.expires, 10), s.job,
		strconv.Itoa(t.Level), t.Name, string(t.Digest[:]))
}

// share returns the ID of a new link to an item for the holder of a token; empty if the
// token does not grant links.
func (c *Controller) share(now time.Time, out Outcome, t token.Token) string {
	if out.Item.ID == 0 || !t.Grants.Has(token.Share) {
		return ""
	}
	s := share{item: out.Item.ID, expires: now.Add(KeepShares).Unix(), job: out.Job}
	signature := c.sign(s, t)
	id := binary.BigEndian.AppendUint64(signature[:], uint64(s.item)) //nolint:gosec // read back as it is written
	id = binary.BigEndian.AppendUint64(id, uint64(s.expires))         //nolint:gosec // read back as it is written
	return base64.RawURLEncoding.EncodeToString(append(id, s.job...))
}

// readShare splits the ID of a link. Every link has one ID only.
func readShare(id string) (signature queue.Digest, s share, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(text) <= shareHead || base64.RawURLEncoding.EncodeToString(text) != id {
		return signature, s, false
	}
	n := copy(signature[:], text)
	s.item = int64(binary.BigEndian.Uint64(text[n:]))      //nolint:gosec // the signature covers it
	s.expires = int64(binary.BigEndian.Uint64(text[n+8:])) //nolint:gosec // the signature covers it
	s.job = string(text[shareHead:])
	return signature, s, true
}

// Shared returns the item that a share link shows. A link that is malformed, forged or
// expired, or whose token is gone, changed, expired or without the grant, is
// [queue.ErrNotFound], as is one to an item that is no longer kept. The queue is read
// only for valid links.
func (c *Controller) Shared(ctx context.Context, d *definition.Site, id string) (queue.Entry, error) {
	notFound := fmt.Errorf("%w: share link", queue.ErrNotFound)
	signature, s, ok := readShare(id)
	if !ok {
		return queue.Entry{}, notFound
	}
	now := time.Now()
	tokens := token.Set{}
	if j, ok := d.Jobs()[s.job]; ok {
		tokens = j.Tokens
	}
	valid := 0
	for t := range tokens.All() {
		want := c.sign(s, t)
		if same := subtle.ConstantTimeCompare(signature[:], want[:]); t.Grants.Has(token.Share) && !t.Expired(now) {
			valid |= same
		}
	}
	if valid == 0 || now.Unix() >= s.expires {
		return queue.Entry{}, notFound
	}
	entry, err := c.Entry(ctx, d, s.item)
	if err == nil && entry.Item.Job != s.job {
		err = notFound
	}
	if err != nil {
		return queue.Entry{}, err
	}
	return entry, nil
}
