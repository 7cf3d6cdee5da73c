package job

import (
	"fmt"
	"slices"
)

// Coalesce decides which queued item a trigger joins. The zero value means [Identical].
type Coalesce string

// The ways to coalesce.
const (
	Identical Coalesce = "identical" // an item of the same job with the same values
	Never     Coalesce = "never"     // none: every trigger makes an item
)

// Job is the configuration of one job, except for its tokens and its runner.
// The jobs of a [Tree] must not be changed.
type Job struct {
	// FullName has the form that [ParseFullName] returns.
	FullName string
	// Description explains to people what the job does.
	Description string
	// Disabled jobs refuse triggers.
	Disabled bool
	// Concurrent lets several builds of the job run at a time.
	Concurrent bool
	Coalesce   Coalesce
	// Settings are those that hold: the folders' are already in them (see [Settings.Under]).
	Settings Settings
	// Params are in the order in which people and builds see them.
	Params []Param
}

// Name is the job's name in its folder.
func (j *Job) Name() string {
	_, name := Split(j.FullName)
	return name
}

// Folder is the full name of the folder in which the job stands, "" for the root.
func (j *Job) Folder() string {
	folder, _ := Split(j.FullName)
	return folder
}

// TakesFiles reports whether a parameter of the job is a file.
func (j *Job) TakesFiles() bool {
	return slices.ContainsFunc(j.Params, func(p Param) bool { return p.Kind == KindFile })
}

// Unknown returns the names of values and files that no parameter of the job has, sorted. It leaves
// out "".
func Unknown[V, F any](j *Job, values map[string]V, files map[string]F) []string {
	var unknown []string
	for name := range values {
		if name != "" && !j.takes(name) {
			unknown = append(unknown, name)
		}
	}
	for name := range files {
		if name != "" && !j.takes(name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

func (j *Job) takes(name string) bool {
	return slices.ContainsFunc(j.Params, func(p Param) bool { return p.Name == name })
}

// Check returns an error if the definition is invalid: [ErrBadName],
// [ErrBadParam], [ErrDuplicate] or [ErrBadSetting], with the job's full name.
func (j *Job) Check() error {
	full, err := ParseFullName(j.FullName)
	if err != nil {
		return err
	}
	if full != j.FullName {
		return fmt.Errorf("%w %q: write it %q", ErrBadName, j.FullName, full)
	}
	if err := j.Settings.Check(); err != nil {
		return fmt.Errorf("job %q: %w", full, err)
	}
	switch j.Coalesce {
	case "", Identical, Never:
	default:
		return fmt.Errorf("job %q: %w: coalesce %q, want %s or %s", full, ErrBadSetting, j.Coalesce, Identical, Never)
	}
	if err := CheckParams(j.Params); err != nil {
		return fmt.Errorf("job %q: %w", full, err)
	}
	return nil
}
