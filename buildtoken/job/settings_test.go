package job_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func TestSettingsUnder(t *testing.T) {
	all := job.Settings{
		QuietPeriod: new(time.Second), Timeout: new(time.Minute), KeepBuilds: new(3), Dir: new("/srv"), Label: new("linux"),
		Env: []job.Var{{"A", "1"}, {"B", "2"}},
	}
	other := job.Settings{
		QuietPeriod: new(time.Duration(0)), Timeout: new(time.Duration(0)), KeepBuilds: new(0), Dir: new(""), Label: new("gpu"),
		Env: []job.Var{{"C", "3"}, {"A", "4"}},
	}
	merged := other
	merged.Env = []job.Var{{"B", "2"}, {"C", "3"}, {"A", "4"}}
	for _, tt := range []struct {
		name              string
		own, parent, want job.Settings
	}{
		{"nothing under nothing", job.Settings{}, job.Settings{}, job.Settings{}},
		{"nothing under something", job.Settings{}, all, all},
		{"something under nothing", all, job.Settings{}, all},
		{"own wins, also when it is zero", other, all, merged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.own.Under(tt.parent)); diff != "" {
				t.Errorf("Under (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSettingsUnderSharesNothing(t *testing.T) {
	env := make([]job.Var, 1, 8)
	env[0] = job.Var{Name: "A", Value: "1"}
	parent := job.Settings{Env: env}
	first := job.Settings{Env: []job.Var{{"B", "2"}}}.Under(parent)
	second := job.Settings{Env: []job.Var{{"A", "3"}}}.Under(parent)
	third := job.Settings{}.Under(parent)
	third.Env[0].Value = "4"
	if diff := cmp.Diff([]job.Var{{"A", "1"}, {"B", "2"}}, first.Env); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]job.Var{{"A", "3"}}, second.Env); diff != "" {
		t.Errorf("second (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]job.Var{{"A", "1"}}, parent.Env); diff != "" {
		t.Errorf("parent (-want +got):\n%s", diff)
	}
}

func TestSettingsCheck(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   job.Settings
		want error
	}{
		{"nothing", job.Settings{}, nil},
		{"zeros", job.Settings{QuietPeriod: new(time.Duration(0)), Timeout: new(time.Duration(0)), KeepBuilds: new(0), Dir: new("")}, nil},
		{"the longest quiet period", job.Settings{QuietPeriod: new(job.MaxDelay)}, nil},
		{"a longer one", job.Settings{QuietPeriod: new(job.MaxDelay + 1)}, job.ErrBadSetting},
		{"a negative one", job.Settings{QuietPeriod: new(time.Duration(-1))}, job.ErrBadSetting},
		{"a negative timeout", job.Settings{Timeout: new(time.Duration(-1))}, job.ErrBadSetting},
		{"a negative number of builds", job.Settings{KeepBuilds: new(-1)}, job.ErrBadSetting},
		{"a directory with NUL", job.Settings{Dir: new("a\x00")}, job.ErrBadSetting},
		{"a label", job.Settings{Label: new("linux/amd64+gpu_2:a.b@c-1")}, nil},
		{"the longest label", job.Settings{Label: new(strings.Repeat("x", 100))}, nil},
		{"a longer one", job.Settings{Label: new(strings.Repeat("x", 101))}, job.ErrBadSetting},
		{"an empty label", job.Settings{Label: new("")}, job.ErrBadSetting},
		{"two labels in one", job.Settings{Label: new("linux gpu")}, job.ErrBadSetting},
		{"the first and last letters and digits", job.Settings{Label: new("azAZ09")}, nil},
		{"a backquote", job.Settings{Label: new("`")}, job.ErrBadSetting},
		{"a brace", job.Settings{Label: new("{")}, job.ErrBadSetting},
		{"a bracket", job.Settings{Label: new("[")}, job.ErrBadSetting},
		{"a semicolon", job.Settings{Label: new(";")}, job.ErrBadSetting},
		{"a label that could be an expression", job.Settings{Label: new("!linux")}, job.ErrBadSetting},
		{"a label that is not ASCII", job.Settings{Label: new("größe")}, job.ErrBadSetting},
		{"a variable", job.Settings{Env: []job.Var{{"PATH", "a=b"}}}, nil},
		{"a variable without a name", job.Settings{Env: []job.Var{{"", "a"}}}, job.ErrBadSetting},
		{"a variable named A=B", job.Settings{Env: []job.Var{{"A=B", ""}}}, job.ErrBadSetting},
		{"a variable with NUL", job.Settings{Env: []job.Var{{"A", "\x00"}}}, job.ErrBadSetting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.in.Check(); !errors.Is(err, tt.want) {
				t.Errorf("Check() = %v, want %v", err, tt.want)
			}
		})
	}
}
