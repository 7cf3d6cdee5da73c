package buildtoken_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// sized is a runner that accepts values of at most this many bytes.
type sized struct {
	runs
	limit int
	asked *atomic.Int32
}

func (s sized) Fits(_ []string, params []runner.Param) error {
	s.asked.Add(1)
	for _, p := range params {
		if len(p.Value) > s.limit {
			return fmt.Errorf("parameter %s: %w", p.Name, runner.ErrTooLarge)
		}
	}
	return nil
}

func TestBuildThatCannotBeStartedIsRefusedAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name          string
		limit, length int
		want          error
		asked         int32 // calls of the runner by a second trigger
	}{
		{"a small value of a job that takes any small one", 8000, 10, nil, 0},
		{"the largest small value", 8000, 4 << 10, nil, 0},
		{"a large value that fits", 8000, 7000, nil, 1},
		{"a large value that does not", 8000, 9000, runner.ErrTooLarge, 1},
		{"a small value of a job that takes only some", 100, 99, nil, 1},
		{"and one that it does not take", 100, 101, runner.ErrTooLarge, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				s := openSite(t, buildtoken.Config{}, definition.Job{
					Name: "app", Tokens: opens(), Params: stringParams("V"), Runner: sized{succeeds(), tt.limit, &asked},
				})
				for range 2 {
					asked.Store(0)
					trigger := ask("app", values("V", strings.Repeat("v", tt.length)))
					if tt.want != nil {
						s.refused(tt.want, trigger)
					} else if _, err := s.Trigger(t.Context(), s.def, trigger); err != nil {
						t.Errorf("Trigger = %v", err)
					}
				}
				if got := asked.Load(); got != tt.asked {
					t.Errorf("the runner was called %d times, want %d", got, tt.asked)
				}
			})
		})
	}
}
