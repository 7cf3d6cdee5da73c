package boltqueue

import (
	"bytes"
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func tokenUseKey(u queue.TokenUse) []byte { return []byte(u.Place + "\x00" + u.Name) }

func decodeTokenUse(k, raw []byte) (queue.TokenUse, error) {
	return exported(raw, fmt.Sprintf("use of token %q", k), func(u *queue.TokenUse) bool { return string(tokenUseKey(*u)) == string(k) })
}

// SaveTokenUses replaces the records of these tokens, and drops those of tokens that were not
// used for [queue.KeepTokenUses] and those that are damaged.
func (q *DB) SaveTokenUses(ctx context.Context, now time.Time, uses []queue.TokenUse) error {
	return q.ask(ctx, request{decide: func(b *batch) error {
		var old [][]byte
		b.note(b.access(func() error {
			return b.bucket(bucketTokenUses()).ForEach(func(k, raw []byte) error {
				if u, err := decodeTokenUse(k, raw); err != nil || now.Sub(u.Last) > queue.KeepTokenUses {
					old = append(old, bytes.Clone(k))
				}
				return nil
			})
		}))
		for _, k := range old {
			b.put(bucketTokenUses(), k, nil)
		}
		for _, u := range uses {
			b.putJSON(bucketTokenUses(), tokenUseKey(u), u)
		}
		return nil
	}})
}

// TokenUses returns the uses of tokens by place and name. Records that are damaged are left out.
func (q *DB) TokenUses(ctx context.Context) ([]queue.TokenUse, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("boltqueue: %w", context.Cause(ctx))
	}
	var all []queue.TokenUse
	err := q.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketTokenUses()).ForEach(func(k, raw []byte) error {
			if u, err := decodeTokenUse(k, raw); err == nil {
				all = append(all, u)
			}
			return nil
		})
	})
	return all, err
}
