package pgqueue

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxJob is the maximum length of a job's name, in bytes; an index entry must hold it.
const maxJob = 2000

// errJob is returned for a job name that cannot be stored.
var errJob = errors.New("pgqueue: bad job name")

// checkJob returns an error for a name that the database would refuse, so that it does
// not fail the triggers that share its transaction.
func checkJob(job string) error {
	if job == "" || len(job) > maxJob || strings.ContainsRune(job, 0) || !utf8.ValidString(job) {
		return fmt.Errorf("%w: %d bytes", errJob, len(job))
	}
	return nil
}

// errRecord is returned for a record that cannot be read.
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

// stub returns what the columns contain of an item whose record cannot be read.
func stub(id int64, job string, due int64, solo bool) queue.Item {
	return queue.Item{ID: id, Job: job, Since: at(due), Due: at(due), Solo: solo}
}

// into reads rows and assigns what read returns.
func into[T any](to *T, read func(pgx.Rows) (T, error)) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*to, err = read(rows)
		return err
	}
}

// column reads rows of one column.
func column[T any](rows pgx.Rows) ([]T, error) { return pgx.CollectRows(rows, pgx.RowTo[T]) }

// scan reads one row into variables.
func scan(to ...any) func(pgx.Row) error {
	return func(row pgx.Row) error { return row.Scan(to...) }
}

// forEach scans each row into variables and calls do, until one of both fails.
func forEach(rows pgx.Rows, into []any, do func() error) error {
	_, err := pgx.ForEachRow(rows, into, do)
	return err
}

func hasFiles(it queue.Item) bool {
	for i := range it.Values {
		if it.Values[i].Ref != "" {
			return true
		}
	}
	return false
}

// instant removes the monotonic clock and the zone, so that returned instants equal the
// recorded ones.
func instant(t time.Time) time.Time { return t.Round(0).UTC() }

// at returns the instant of a column.
func at(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// ns returns the value of a column for an instant; nil for none.
func ns(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixNano()
	return &n
}
