package runnertest

import (
	"context"
	"fmt"
	"io"
)

// Script describes what the build of a case does. It can be passed to another process as JSON.
type Script struct {
	// Lines are written first, in this order, alternately to standard output and standard error.
	Lines []string
	// Flood is the number of numbered lines that follow; if negative, they continue until the build is stopped.
	Flood int
	// Hang makes the build run on after its output until it is stopped.
	Hang bool
	// Deaf makes it ignore the first request to stop.
	Deaf bool
	// Exit is the status that it ends with; 0 is a success.
	Exit int
	// Broken means that such a build cannot be started at all.
	Broken bool
}

// Play follows the script and returns the exit status. stop ends when the build is asked to stop; Play of a Deaf build
// ignores that and does not return.
func (s Script) Play(stop context.Context, out, err io.Writer) int {
	for i, l := range s.Lines {
		to := out
		if i%2 == 1 {
			to = err
		}
		fmt.Fprintln(to, l)
	}
	for i := 0; s.Flood < 0 || i < s.Flood; i++ {
		if stop.Err() != nil && !s.Deaf {
			return 1
		}
		fmt.Fprint(out, FloodLine(i))
	}
	if s.Hang {
		<-stop.Done()
		if s.Deaf {
			select {}
		}
		return 1
	}
	return s.Exit
}

// FloodLine returns the i-th line of a flood.
func FloodLine(i int) string { return fmt.Sprintf("flood %09d\n", i) }
