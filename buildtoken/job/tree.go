package job

import (
	"fmt"
	"slices"
	"strings"
)

// Folder is what stands directly in one folder. Its slices belong to the tree
// and must not be changed.
type Folder struct {
	// FullName is "" for the root.
	FullName string
	// Folders and Jobs are full names, sorted.
	Folders, Jobs []string
}

// Tree holds all jobs and the folders that follow from their full names. It
// never changes after [NewTree], so many goroutines may use it at the same
// time. The zero value has a root and nothing in it.
type Tree struct {
	sorted  []*Job
	jobs    map[string]*Job
	folders map[string]*Folder
}

// NewTree makes a tree of jobs, in any order. It keeps a copy of each, which
// still shares parameters and settings with what the caller has. It refuses a
// job that [Job.Check] refuses, two jobs of one full name, and a job whose full
// name is that of a folder too ([ErrDuplicate]).
func NewTree(jobs []Job) (*Tree, error) {
	kept := slices.Clone(jobs)
	slices.SortFunc(kept, func(a, b Job) int { return strings.Compare(a.FullName, b.FullName) })
	t := &Tree{
		sorted:  make([]*Job, 0, len(kept)),
		jobs:    make(map[string]*Job, len(kept)),
		folders: make(map[string]*Folder),
	}
	for i := range kept {
		j := &kept[i]
		if err := j.Check(); err != nil {
			return nil, err
		}
		if t.jobs[j.FullName] != nil {
			return nil, fmt.Errorf("%w job %q", ErrDuplicate, j.FullName)
		}
		t.jobs[j.FullName] = j
		t.sorted = append(t.sorted, j)
		in := t.folder(j.Folder())
		in.Jobs = append(in.Jobs, j.FullName)
	}
	for _, j := range t.sorted {
		if below := t.folders[j.FullName]; below != nil {
			return nil, fmt.Errorf("%w: %q is a job and a folder", ErrDuplicate, j.FullName)
		}
	}
	for _, f := range t.folders {
		// The jobs come sorted, but folders in the order of what is in them: "a-b/x" is before "a/x".
		slices.Sort(f.Folders)
	}
	return t, nil
}

// folder returns the folder with this name, and creates it and those above it if needed.
func (t *Tree) folder(full string) *Folder {
	if f := t.folders[full]; f != nil {
		return f
	}
	f := &Folder{FullName: full}
	t.folders[full] = f
	if full != "" {
		above, _ := Split(full)
		in := t.folder(above)
		in.Folders = append(in.Folders, full)
	}
	return f
}

// Job returns the job with this full name, in the form that [ParseFullName]
// returns; case counts.
func (t *Tree) Job(full string) (*Job, bool) {
	j, ok := t.jobs[full]
	return j, ok
}

// Folder returns the folder with this full name; "" is the root, which always exists.
func (t *Tree) Folder(full string) (Folder, bool) {
	if f := t.folders[full]; f != nil {
		return *f, true
	}
	return Folder{}, full == ""
}

// Jobs returns all jobs, sorted by full name. The slice belongs to the tree and
// must not be changed.
func (t *Tree) Jobs() []*Job { return t.sorted }
