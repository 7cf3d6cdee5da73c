package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrBadSetting is returned for an invalid setting of a job or folder.
var ErrBadSetting = errors.New("job: bad setting")

// Settings are the settings of builds on a folder or job. A nil pointer means that
// the setting is inherited from the folder above. The zero value inherits all.
type Settings struct {
	// QuietPeriod is how long an item waits before it can start, at most [MaxDelay].
	QuietPeriod *time.Duration
	// Timeout is how long a build can run. Zero means no limit.
	Timeout *time.Duration
	// KeepBuilds is how many ended builds of a job are kept. Zero: all.
	KeepBuilds *int
	// Env is set in the environment of builds; of two variables of one name the later counts.
	Env []Var
	// Dir is the directory in which builds run.
	Dir *string
	// Label selects the servers that can run builds: those that have it. See [CheckLabel].
	Label *string
}

// Var is a variable of an environment.
type Var struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Under returns the effective settings of a folder or job with the settings s,
// below a folder with the effective settings parent. Those of s win. Its variables
// follow those of the parent, except for the ones that it overrides. The result
// shares no slice with s and parent.
func (s Settings) Under(parent Settings) Settings {
	if s.QuietPeriod == nil {
		s.QuietPeriod = parent.QuietPeriod
	}
	if s.Timeout == nil {
		s.Timeout = parent.Timeout
	}
	if s.KeepBuilds == nil {
		s.KeepBuilds = parent.KeepBuilds
	}
	if s.Dir == nil {
		s.Dir = parent.Dir
	}
	if s.Label == nil {
		s.Label = parent.Label
	}
	own := s.Env
	inherited := slices.DeleteFunc(slices.Clone(parent.Env), func(v Var) bool {
		return slices.ContainsFunc(own, func(o Var) bool { return o.Name == v.Name })
	})
	s.Env = slices.Concat(inherited, own)
	return s
}

// Check returns [ErrBadSetting] if s cannot be used; the text names the
// setting and, of a variable, the name and not the value.
func (s Settings) Check() error {
	switch {
	case s.QuietPeriod != nil && (*s.QuietPeriod < 0 || *s.QuietPeriod > MaxDelay):
		return fmt.Errorf("%w: quiet period %v, want 0 to %v", ErrBadSetting, *s.QuietPeriod, MaxDelay)
	case s.Timeout != nil && *s.Timeout < 0:
		return fmt.Errorf("%w: timeout %v is negative", ErrBadSetting, *s.Timeout)
	case s.KeepBuilds != nil && *s.KeepBuilds < 0:
		return fmt.Errorf("%w: keep %d builds", ErrBadSetting, *s.KeepBuilds)
	case s.Dir != nil && strings.Contains(*s.Dir, "\x00"):
		return fmt.Errorf("%w: the directory holds a NUL character", ErrBadSetting)
	}
	if s.Label != nil {
		if err := CheckLabel(*s.Label); err != nil {
			return fmt.Errorf("%w: label: %w", ErrBadSetting, err)
		}
	}
	for _, v := range s.Env {
		if err := CheckVarName(v.Name); err != nil {
			return fmt.Errorf("%w: %w", ErrBadSetting, err)
		}
		if strings.Contains(v.Value, "\x00") {
			return fmt.Errorf("%w: the variable %s holds a NUL character", ErrBadSetting, v.Name)
		}
	}
	return nil
}

// CheckVarName returns an error unless a text can be the name of a variable.
func CheckVarName(name string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("%q cannot name a variable", name)
	}
	return nil
}

// maxLabel is the maximum length of a label, in bytes.
const maxLabel = 100

// CheckLabel returns an error unless a label has 1 to 100 of the characters A-Z a-z
// 0-9 . _ + : @ / -. The name of a server is one of its labels. Other characters
// are reserved for expressions.
func CheckLabel(label string) error {
	if label == "" || len(label) > maxLabel {
		return fmt.Errorf("it has %d bytes, want 1 to %d", len(label), maxLabel)
	}
	for _, r := range label {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("._+:@/-", r):
		default:
			return fmt.Errorf("%q holds %q; letters, digits and . _ + : @ / - are allowed", label, r)
		}
	}
	return nil
}
