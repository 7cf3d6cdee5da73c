package boltqueue

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// The buckets of the file.
//
//	meta           format, next_id, batch
//	items          ID                      → item record
//	lanes          job                     → lane (JSON)
//	builds         job 0x00 number         → build (JSON)
//	cancelled      job 0x00 ID             → cancelled item (JSON)
//	left           ID                      → job 0x00 number; number 0: cancelled
//	receipts       job 0x00 expiry digest  → receipt (JSON)
//	summaries      job                     → summary (JSON)
//	notifications  ID                      → notification (JSON)
//	token_uses     place 0x00 name         → use of a token (JSON)
//
// Numbers, IDs and the expiry (ns since 1970) are 8 bytes, big endian, so that keys sort by them.
// The digest of an idempotency key is 16 bytes. A job name holds no zero byte ([checkJob]), so
// 0x00 ends it.
func buckets() [10][]byte {
	return [10][]byte{
		bucketMeta(), bucketItems(), bucketLanes(), bucketBuilds(), bucketCancelled(), bucketLeft(),
		bucketReceipts(), bucketSummaries(), bucketNotifications(), bucketTokenUses(),
	}
}

func bucketMeta() []byte      { return []byte("meta") }
func bucketItems() []byte     { return []byte("items") }
func bucketLanes() []byte     { return []byte("lanes") }
func bucketBuilds() []byte    { return []byte("builds") }
func bucketCancelled() []byte { return []byte("cancelled") }
func bucketLeft() []byte      { return []byte("left") }

func bucketReceipts() []byte      { return []byte("receipts") }
func bucketSummaries() []byte     { return []byte("summaries") }
func bucketTokenUses() []byte     { return []byte("token_uses") }
func bucketNotifications() []byte { return []byte("notifications") }

// The keys of the bucket meta. Each holds 8 bytes, big endian.
func keyFormat() []byte { return []byte("format") }
func keyNextID() []byte { return []byte("next_id") } // the lowest ID that was never given
func keyBatch() []byte  { return []byte("batch") }   // the number of the last batch

// format is the version of the file as a whole; item records have their own version too.
// Every file since format 1 can be opened: what a later program adds to the file is created
// when it is missing, and any other change is a new format with a step in upgrades.
const format = 2

// upgrades returns the steps from format 1 to [format], one for each format before it.
func upgrades() []func(*bolt.Tx) error { return []func(*bolt.Tx) error{upgradeFrom1} }

// upgradeFrom1 makes the bucket of the uses of tokens, which not every file of format 1 has, and
// sorts the receipts by expiry. In format 1, they were stored under job and digest, and the bucket
// receipt_ends had them by expiry.
func upgradeFrom1(tx *bolt.Tx) error {
	ends, old := tx.Bucket([]byte("receipt_ends")), tx.Bucket(bucketReceipts())
	var sorted []write
	err := ends.ForEach(func(k, _ []byte) error {
		if job, r, err := splitReceiptKey(k); err == nil { // anything else is not a receipt
			raw := old.Get(append(jobPrefix(job), r.Key[:]...))
			sorted = append(sorted, write{bucketReceipts(), bytes.Clone(k), append([]byte{}, raw...)})
		}
		return nil
	})
	if err = errors.Join(err, tx.DeleteBucket([]byte("receipt_ends")), tx.DeleteBucket(bucketReceipts())); err != nil {
		return err
	}
	for _, name := range [][]byte{bucketReceipts(), bucketTokenUses()} {
		_, made := tx.CreateBucketIfNotExists(name)
		err = errors.Join(err, made)
	}
	for _, w := range sorted {
		err = errors.Join(err, w.put(tx.Bucket(w.bucket)))
	}
	return err
}

// itemVersion is the first byte of an item record. Because of the header, a restart indexes
// a million items without decoding their JSON:
//
//	version 1 · flags 1 · due 8 (ns since 1970, UTC) · digest 16 · job length 2 · job · JSON
const itemVersion = 1

const (
	flagSolo  = 1 << 0
	flagFiles = 1 << 1 // some value has stored content
)

// maxJob is the maximum length of a job's name, which is followed by a number in keys.
const maxJob = bolt.MaxKeySize - 9

// errJob is returned for a name that cannot be part of a key.
var errJob = errors.New("boltqueue: bad job name")

func checkJob(job string) error {
	if job == "" || len(job) > maxJob || strings.ContainsRune(job, 0) {
		return fmt.Errorf("%w: %d bytes", errJob, len(job))
	}
	return nil
}

const headerSize = 1 + 1 + 8 + 16 + 2

var errRecord = errors.New("boltqueue: bad record")

// header is what memory keeps of a queued item.
type header struct {
	due    int64 // nanoseconds since 1970, UTC
	digest queue.Digest
	flags  byte
	job    []byte
}

func flagsOf(it *queue.Item) byte {
	var flags byte
	if it.Solo {
		flags |= flagSolo
	}
	for i := range it.Values {
		if it.Values[i].Ref != "" {
			flags |= flagFiles
		}
	}
	return flags
}

// encoder writes the item records of a batch one after the other. They are valid
// until reset, which keeps the memory for the next batch.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder // writes to buf
}

func newEncoder() *encoder {
	e := &encoder{}
	e.json = json.NewEncoder(&e.buf)
	return e
}

// maxEncoded is how many bytes of memory an encoder keeps: batches of large items are
// rare.
const maxEncoded = 1 << 20

// reset discards what was encoded.
func (e *encoder) reset() {
	if e.buf.Cap() > maxEncoded {
		e.buf = bytes.Buffer{}
	}
	e.buf.Reset()
}

func (e *encoder) item(it *queue.Item) ([]byte, error) {
	start := e.buf.Len()
	b := append(e.buf.AvailableBuffer(), itemVersion, flagsOf(it))
	b = binary.BigEndian.AppendUint64(b, uint64(it.Due.UnixNano()))
	b = append(b, it.Digest[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(it.Job))) //nolint:gosec // at most maxJob
	e.buf.Write(append(b, it.Job...))
	if err := e.json.Encode(it); err != nil {
		return nil, fmt.Errorf("boltqueue: encode item %d: %w", it.ID, err)
	}
	end := e.buf.Len() - 1 // without the line break
	return e.buf.Bytes()[start:end:end], nil
}

// decodeHeader reads the header of an item record; job points into b.
func decodeHeader(b []byte) (h header, body []byte, err error) {
	if len(b) < headerSize {
		return header{}, nil, fmt.Errorf("%w: item of %d bytes", errRecord, len(b))
	}
	if b[0] != itemVersion {
		return header{}, nil, fmt.Errorf("%w: item of version %d, this program supports %d", errRecord, b[0], itemVersion)
	}
	h.flags = b[1]
	h.due = int64(binary.BigEndian.Uint64(b[2:])) //nolint:gosec // written with the same bits
	copy(h.digest[:], b[10:26])
	size := int(binary.BigEndian.Uint16(b[26:]))
	if len(b) < headerSize+size {
		return header{}, nil, fmt.Errorf("%w: item ends within its job name", errRecord)
	}
	h.job = b[headerSize : headerSize+size]
	return h, b[headerSize+size:], nil
}

// decodeItem decodes the record of the item with an ID. The header, which the index is
// built from, must agree with the rest.
func decodeItem(b []byte, id int64) (*queue.Item, error) {
	h, body, err := decodeHeader(b)
	if err != nil {
		return nil, err
	}
	it, err := decodeJSON[queue.Item](body, "item")
	if err != nil {
		return nil, err
	}
	if it.ID != id || it.Job != string(h.job) || it.Digest != h.digest || it.Due.UnixNano() != h.due || flagsOf(it) != h.flags {
		return nil, fmt.Errorf("%w: found item %d of %q in the place of item %d of %q", errRecord, it.ID, it.Job, id, h.job)
	}
	return it, nil
}

func decodeJSON[T any](b []byte, what string) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errRecord, what, err)
	}
	return v, nil
}

func idKey(id int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(id)) //nolint:gosec // IDs are positive
}

func keyID(k []byte) (int64, error) {
	if len(k) != 8 {
		return 0, fmt.Errorf("%w: key of %d bytes", errRecord, len(k))
	}
	return numberOf(k), nil
}

// numberOf returns the number in 8 bytes.
func numberOf(b []byte) int64 {
	return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // written from an int64
}

// jobPrefix is the common prefix of the keys of a job's builds, cancelled items and receipts.
func jobPrefix(job string) []byte {
	return append(slices.Grow([]byte(job), 9), 0)
}

func jobKey(job string, number int64) []byte {
	return binary.BigEndian.AppendUint64(jobPrefix(job), uint64(number)) //nolint:gosec // numbers are positive
}

func splitJobKey(k []byte) (job string, number int64, err error) {
	end := len(k) - 9
	if end < 1 || k[end] != 0 {
		return "", 0, fmt.Errorf("%w: key of %d bytes", errRecord, len(k))
	}
	return string(k[:end]), numberOf(k[end+1:]), nil
}

// prefixed walks the records whose keys start with prefix, in order.
func prefixed(c *bolt.Cursor, prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if !yield(k, v) {
				return
			}
		}
	}
}

func readUint(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// instant strips the monotonic clock and the time zone, so that memory holds what will
// be read from the file.
func instant(t time.Time) time.Time { return t.Round(0).UTC() }
