package pgqueue

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxJob is how long a job's name may be: an entry of an index must hold it.
const maxJob = 2000

// errJob says that a name can't be stored.
var errJob = errors.New("pgqueue: bad job name")

// checkJob keeps a name that the database would refuse from failing those who
// share its transaction.
func checkJob(job string) error {
	if job == "" || len(job) > maxJob || strings.ContainsRune(job, 0) || !utf8.ValidString(job) {
		return fmt.Errorf("%w: %d bytes", errJob, len(job))
	}
	return nil
}

// errRecord says that a record can't be read.
var errRecord = errors.New("pgqueue: bad record")

func encode[T any](v T) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("pgqueue: encode: %w", err)
	}
	return string(b), nil
}

func decode[T any](body, what string) (T, error) {
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return v, fmt.Errorf("%w: %s: %w", errRecord, what, err)
	}
	return v, nil
}

// decodeItem reads a record of the table items.
func decodeItem(id int64, job, body string) (queue.Item, error) {
	it, err := decode[queue.Item](body, fmt.Sprintf("item %d", id))
	if err != nil {
		return queue.Item{}, err
	}
	if it.ID != id || it.Job != job {
		return queue.Item{}, fmt.Errorf("%w: item %d of %q stands where item %d of %q is", errRecord, it.ID, it.Job, id, job)
	}
	return it, nil
}

// stub is what the columns tell of an item whose record can't be read.
func stub(id int64, job string, due int64, digest []byte, solo bool) queue.Item {
	it := queue.Item{ID: id, Job: job, Since: at(due), Due: at(due), Solo: solo}
	copy(it.Digest[:], digest)
	return it
}

func hasFiles(it queue.Item) bool {
	for i := range it.Values {
		if it.Values[i].Ref != "" {
			return true
		}
	}
	return false
}

// instant takes away the monotonic clock and the zone: what is answered is
// what the record says.
func instant(t time.Time) time.Time { return t.Round(0).UTC() }

// at is the instant of a column.
func at(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// ns is what a column holds for an instant; nil for none.
func ns(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixNano()
	return &n
}
