package boltqueue_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxJob is the maximum length of a job's name, and maxKeyedJob that for triggers with keys.
const (
	maxJob      = 32_759
	maxKeyedJob = 32_743
)

// start is the first instant of every test.
var start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func items() map[string]queue.Item {
	return map[string]queue.Item{
		"the least": {ID: 1, Job: "j", Since: start, Due: start},
		"everything": {
			ID: 1 << 40, Job: "team/app/ä", Since: start.Add(1), Due: start.Add(time.Hour + 1), Digest: queue.Digest{1, 15: 0xff}, Solo: true,
			Values: []queue.Value{
				{Name: "TEXT", Kind: "text", Text: "<&>\u2028\x00🚀"},
				{Name: "PIN", Kind: "password", Sealed: []byte{0, 0xff}},
				{Name: "FILE", Kind: "file", Text: "a b", Ref: "ref"},
			},
			Causes: []queue.Cause{{Kind: queue.CauseRemote, Addr: "::1", Noted: true, Count: 3}, {Kind: queue.CauseUser, User: "alice", Count: 1}}, MoreCauses: 7,
			Root: "https://ci.example.com",
		},
		"the longest name": {ID: 2, Job: strings.Repeat("j", maxJob), Since: start, Due: start},
		"before 1970":      {ID: 3, Job: "j", Since: time.Unix(-5, 0).UTC(), Due: time.Unix(-5, 7).UTC()},
	}
}

func TestItemRecordComesBack(t *testing.T) {
	for name, want := range items() {
		t.Run(name, func(t *testing.T) {
			raw, err := boltqueue.EncodeItem(&want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := boltqueue.DecodeItem(raw, want.ID)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("item (-written +read):\n%s", diff)
			}
			if _, err := boltqueue.DecodeItem(raw, want.ID+1); !errors.Is(err, boltqueue.ErrRecord) {
				t.Errorf("under another ID: %v, want %v", err, boltqueue.ErrRecord)
			}
			for _, n := range []int{0, 1, 27, 28, len(raw) / 2, len(raw) - 1} {
				if _, err := boltqueue.DecodeItem(raw[:n], want.ID); !errors.Is(err, boltqueue.ErrRecord) {
					t.Errorf("the first %d of %d bytes: %v, want %v", n, len(raw), err, boltqueue.ErrRecord)
				}
			}
			if flags := map[string]byte{"everything": 3}[name]; raw[1] != flags { // 1: solo, 2: with a file
				t.Errorf("the flags are %d, want %d", raw[1], flags)
			}
			newer := bytes.Clone(raw)
			newer[0]++
			if _, err := boltqueue.DecodeItem(newer, want.ID); !errors.Is(err, boltqueue.ErrRecord) || !strings.Contains(err.Error(), "version 2") {
				t.Errorf("a newer version: %v, want %v with the version", err, boltqueue.ErrRecord)
			}
			for name, at := range map[string]int{"flags": 1, "due instant": 9, "digest": 25, "name of the job": 28} {
				other := bytes.Clone(raw)
				other[at] ^= 1
				if _, err := boltqueue.DecodeItem(other, want.ID); !errors.Is(err, boltqueue.ErrRecord) || !strings.Contains(err.Error(), "in the place of") {
					t.Errorf("a header with another %s than the rest: %v, want %v", name, err, boltqueue.ErrRecord)
				}
			}
			if _, err := boltqueue.DecodeItem(raw[:27+len(want.Job)], want.ID); !errors.Is(err, boltqueue.ErrRecord) || !strings.Contains(err.Error(), "job name") {
				t.Errorf("a record that ends in the name of its job: %v, want %v that mentions it", err, boltqueue.ErrRecord)
			}
		})
	}
}

// FuzzDecodeItem decodes records from bytes. A record that can be decoded can be encoded,
// and does not change.
func FuzzDecodeItem(f *testing.F) {
	for _, it := range items() {
		raw, err := boltqueue.EncodeItem(&it)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, it.ID)
		f.Add(raw[:len(raw)-1], it.ID)
	}
	f.Fuzz(func(t *testing.T, raw []byte, id int64) {
		it, err := boltqueue.DecodeItem(raw, id)
		if err != nil {
			if !errors.Is(err, boltqueue.ErrRecord) {
				t.Fatalf("%v, want %v", err, boltqueue.ErrRecord)
			}
			return
		}
		if it.ID != id {
			t.Fatalf("item %d read as %d", it.ID, id)
		}
		if len(it.Job) > maxJob {
			return // never written
		}
		again, err := boltqueue.EncodeItem(it)
		if err != nil {
			return // an instant that JSON can read, but cannot write
		}
		same, err := boltqueue.DecodeItem(again, id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(it, same, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("item (-first +second):\n%s", diff)
		}
	})
}

func TestJobNamesThatAreNoKeys(t *testing.T) {
	path := t.TempDir() + "/queue.db"
	q := open(t, boltqueue.Options{Path: path})
	for _, job := range []string{"", "a\x00b", strings.Repeat("j", maxJob+1)} {
		if _, _, err := q.Schedule(t.Context(), start, queue.Request{Job: job}); !errors.Is(err, boltqueue.ErrJob) {
			t.Errorf("Schedule of a job with %d bytes: %v, want %v", len(job), err, boltqueue.ErrJob)
		}
	}
	longest := strings.Repeat("j", maxJob)
	if _, _, err := q.Schedule(t.Context(), start, queue.Request{Job: longest}); err != nil {
		t.Errorf("Schedule of the longest name: %v", err)
	}
	once := queue.Request{Job: longest, Key: &queue.Digest{1}}
	if _, _, err := q.Schedule(t.Context(), start, once); !errors.Is(err, boltqueue.ErrJob) {
		t.Errorf("Schedule of the longest name with a key: %v, want %v", err, boltqueue.ErrJob)
	}
	once.Job = longest[:maxKeyedJob+1]
	if _, _, err := q.Schedule(t.Context(), start, once); !errors.Is(err, boltqueue.ErrJob) {
		t.Errorf("Schedule of a name that is too long for a key: %v, want %v", err, boltqueue.ErrJob)
	}
	once.Job = longest[:maxKeyedJob]
	once.Delay = time.Hour
	if _, _, err := q.Schedule(t.Context(), start, once); err != nil {
		t.Errorf("Schedule of the longest name that may have a key: %v", err)
	}
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{}, []int{0}); err != nil || len(builds) != 1 {
		t.Errorf("Claim of the longest name: %d builds, %v", len(builds), err)
	}
}
