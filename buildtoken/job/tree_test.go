package job_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func jobs(fullNames ...string) []job.Job {
	all := make([]job.Job, 0, len(fullNames))
	for _, full := range fullNames {
		all = append(all, job.Job{FullName: full})
	}
	return all
}

func TestTree(t *testing.T) {
	tree, err := job.NewTree(jobs("z", "a/x", "a-b/x", "a/sub/deep/y", "App", "app", "a/b"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, j := range tree.Jobs() {
		names = append(names, j.FullName)
		if found, ok := tree.Job(j.FullName); !ok || found != j {
			t.Errorf("Job(%q) = %v, %t", j.FullName, found, ok)
		}
	}
	if diff := cmp.Diff([]string{"App", "a-b/x", "a/b", "a/sub/deep/y", "a/x", "app", "z"}, names); diff != "" {
		t.Errorf("Jobs (-want +got):\n%s", diff)
	}
	for _, want := range []job.Folder{
		{FullName: "", Folders: []string{"a", "a-b"}, Jobs: []string{"App", "app", "z"}},
		{FullName: "a", Folders: []string{"a/sub"}, Jobs: []string{"a/b", "a/x"}},
		{FullName: "a-b", Jobs: []string{"a-b/x"}},
		{FullName: "a/sub", Folders: []string{"a/sub/deep"}},
		{FullName: "a/sub/deep", Jobs: []string{"a/sub/deep/y"}},
	} {
		got, ok := tree.Folder(want.FullName)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("Folder(%q) = %t (-want +got):\n%s", want.FullName, ok, diff)
		}
	}
	for _, full := range []string{"", "a", "A/x", "a/sub", "/z", "z/", "nothing"} {
		if j, ok := tree.Job(full); ok || j != nil {
			t.Errorf("Job(%q) = %v", full, j)
		}
	}
	for _, full := range []string{"z", "A", "a/", "a/x", "nothing"} {
		if f, ok := tree.Folder(full); ok {
			t.Errorf("Folder(%q) = %v", full, f)
		}
	}
}

func TestEmptyTree(t *testing.T) {
	empty, err := job.NewTree(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tree := range map[string]*job.Tree{"of no jobs": empty, "the zero value": {}} {
		t.Run(name, func(t *testing.T) {
			if root, ok := tree.Folder(""); !ok || len(root.Jobs)+len(root.Folders) > 0 {
				t.Errorf("Folder(\"\") = %v, %t", root, ok)
			}
			if _, ok := tree.Job("a"); ok || len(tree.Jobs()) > 0 {
				t.Errorf("it has jobs: %v", tree.Jobs())
			}
		})
	}
}

func TestNewTreeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []job.Job
		want error
	}{
		{"names that differ in case are two", jobs("a", "A"), nil},
		{"a job beside a folder of a longer name", jobs("a", "ab/c"), nil},
		{"two of one name", jobs("a/b", "c", "a/b"), job.ErrDuplicate},
		{"a job that is a folder", jobs("a", "a/b"), job.ErrDuplicate},
		{"a job that is a folder far above", jobs("a/b/c/d", "a/b"), job.ErrDuplicate},
		{"no name", jobs(""), job.ErrBadName},
		{"a name with empty elements", jobs("a//b"), job.ErrBadName},
		{"a bad parameter", []job.Job{{FullName: "a", Params: []job.Param{{Name: "PATH", Kind: job.KindString}}}}, job.ErrBadParam},
		{"a bad setting", []job.Job{{FullName: "a", Settings: job.Settings{Timeout: new(-time.Second)}}}, job.ErrBadSetting},
		{"a bad way to coalesce", []job.Job{{FullName: "a", Coalesce: "always"}}, job.ErrBadSetting},
		{"good ways to coalesce", []job.Job{{FullName: "a", Coalesce: job.Never}, {FullName: "b", Coalesce: job.Identical}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := job.NewTree(tt.in)
			if !errors.Is(err, tt.want) {
				t.Fatalf("NewTree = %v, want %v", err, tt.want)
			}
			if (err == nil) != (tree != nil) {
				t.Errorf("NewTree = %v, %v", tree, err)
			}
		})
	}
}

func TestNewTreeCopies(t *testing.T) {
	all := jobs("b", "a")
	tree, err := job.NewTree(all)
	if err != nil {
		t.Fatal(err)
	}
	if all[0].FullName != "b" {
		t.Error("NewTree sorted the caller's slice")
	}
	all[0].Disabled = true
	if j, ok := tree.Job("b"); !ok || j.Disabled {
		t.Error("the tree changes with the caller's slice")
	}
}

func TestJobNameAndFolder(t *testing.T) {
	j := job.Job{FullName: "team/app/deploy"}
	if j.Name() != "deploy" || j.Folder() != "team/app" {
		t.Errorf("Name() = %q, Folder() = %q", j.Name(), j.Folder())
	}
}

// many returns n jobs in folders of a hundred, shuffled.
func many(n int) []job.Job {
	all := make([]job.Job, 0, n)
	for i := range n {
		all = append(all, job.Job{FullName: fmt.Sprintf("team-%d/app-%d/job-%d", i/10000, i/100, i)})
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func BenchmarkNewTree(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("jobs=%d", n), func(b *testing.B) {
			all := many(n)
			var tree *job.Tree
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				var err error
				if tree, err = job.NewTree(all); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/job")
			runtime.KeepAlive(tree)
			runtime.KeepAlive(all)
		})
	}
}

func BenchmarkTreeJob(b *testing.B) {
	tree, err := job.NewTree(many(100_000))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		full, err := job.ParseFullName("/team-4//app-456/job-45678")
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := tree.Job(full); !ok {
			b.Fatal("not found")
		}
	}
}
