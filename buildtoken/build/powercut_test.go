package build_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
	"github.com/buildtoken/buildtoken/internal/crashdisk"
)

// onCrashDisk returns a Host in a directory that is durable, and the disk that records what else is.
func onCrashDisk(t *testing.T) (*build.Host, *crashdisk.Disk) {
	t.Helper()
	disk := crashdisk.New(t)
	return hostIn(t, disk.Root, disk), disk
}

func hostIn(t *testing.T, dir string, disk atomicfile.Disk) *build.Host {
	t.Helper()
	v, err := vault.New(vault.Key{})
	if err != nil {
		t.Fatal(err)
	}
	return build.NewHost(build.WithFiles(build.Options{Dir: dir, Vault: v, Log: zap.NewNop}, atomicfile.Files{Disk: disk}))
}

// copies is a runner whose builds write the content of their files into the log.
type copies struct{}

func (copies) Run(_ context.Context, b runner.Build, log io.Writer) runner.Result {
	for _, p := range b.Params {
		if p.File == "" {
			continue
		}
		text, err := os.ReadFile(p.File)
		if err != nil {
			return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
		}
		_, _ = log.Write(text)
	}
	return runner.Result{Outcome: runner.Success}
}

// TestPowerCutKeepsUploads stores two files, as two triggers do on a server that never had an
// upload. Once StoreFiles has returned, the trigger can be answered, so the build must get its
// file whatever a power failure leaves. A part of a request that was too large for memory has
// created the directory before.
func TestPowerCutKeepsUploads(t *testing.T) {
	for _, name := range []string{"from memory", "after a file was spooled", "in a directory that an earlier process made"} {
		t.Run(name, func(t *testing.T) {
			h, disk := onCrashDisk(t)
			switch name {
			case "in a directory that an earlier process made":
				if err := disk.Mkdir(filepath.Join(disk.Root, "uploads"), 0o700); err != nil {
					t.Fatal(err)
				}
			case "after a file was spooled":
				f, err := h.SpoolFile()
				if err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			texts := []string{"the first file", strings.Repeat("the second file ", 3_000)}
			var stored [][]job.Value
			var marks []int
			for _, text := range texts {
				values := []job.Value{{Name: "FILE", Kind: job.KindFile, Text: "f.txt"}}
				_, err := h.StoreFiles(t.Context(), values, func(string) (io.ReadCloser, error) {
					return io.NopCloser(strings.NewReader(text)), nil
				}, false)
				if err != nil {
					t.Fatal(err)
				}
				stored, marks = append(stored, values), append(marks, disk.Mark())
			}
			v, err := vault.New(vault.Key{})
			if err != nil {
				t.Fatal(err)
			}
			app := &build.Job{Job: &job.Job{FullName: "app", Params: []job.Param{{Name: "FILE", Kind: job.KindFile}}}, Runner: copies{}}
			disk.Cuts(t, func(after int, left, what string) {
				restarted := hostIn(t, left, nil)
				var keep []string
				for i := range stored {
					keep = append(keep, stored[i][0].Ref)
				}
				if err := restarted.SweepUploads(t.Context(), keep); err != nil { // as the start of a server does
					t.Fatal(err)
				}
				for i, text := range texts {
					if after < marks[i] {
						continue // no answer yet
					}
					b := queue.Build{Number: int64(i + 1), Item: queue.Item{ID: int64(i + 1), Job: "app", Values: v.Seal("app", stored[i])}}
					if result, reason := restarted.Run(t.Context(), app, b); result != queue.Success {
						t.Fatalf("%s: the build of trigger %d = %s, %s", what, i+1, result, reason)
					}
					if log := readLog(t, restarted, b); !strings.Contains(log, text) {
						t.Fatalf("%s: the build of trigger %d got another file", what, i+1)
					}
				}
			})
		})
	}
}

func readLog(t *testing.T, h *build.Host, b queue.Build) string {
	t.Helper()
	r, err := h.OpenLog(t.Context(), b.Item.Job, b.Number, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, io.NewSectionReader(r, 0, r.Size())); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestPowerCutKeepsLogsOfEndedBuilds runs the first builds of a server. Once Run has returned,
// the end of the build is recorded, so its log must be there whatever a power failure leaves.
func TestPowerCutKeepsLogsOfEndedBuilds(t *testing.T) {
	h, disk := onCrashDisk(t)
	app := &build.Job{Job: &job.Job{FullName: "team/app"}, Runner: ends{Outcome: runner.Success}}
	var builds []queue.Build
	var marks []int
	for number := int64(1); number <= 2; number++ {
		b := queue.Build{Number: number, Item: queue.Item{ID: number, Job: "team/app"}}
		if result, reason := h.Run(t.Context(), app, b); result != queue.Success {
			t.Fatalf("Run = %s, %s", result, reason)
		}
		builds, marks = append(builds, b), append(marks, disk.Mark())
	}
	disk.Cuts(t, func(after int, left, what string) {
		for i, b := range builds {
			if after < marks[i] {
				continue
			}
			path := filepath.Join(left, "logs", job.PathElement("team/app"))
			if _, err := os.Stat(path); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if log := readLog(t, hostIn(t, left, nil), b); !strings.HasSuffix(log, "Finished: SUCCESS\n") {
				t.Errorf("%s: the log of build %d is %q", what, i+1, log)
			}
		}
	})
}
