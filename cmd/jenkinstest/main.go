// Command jenkinstest serves what package jenkinstest does: a program that behaves like Jenkins, for documents and tests.
//
//	jenkinstest -listen 127.0.0.1:8090 -account edge:s3cret -token TacoTuesday \
//	    'RevolutionTest=echo "$JOB_NAME lives"' 'app/deploy(VERSION,ENV)=./deploy "$VERSION"'
//
// Each argument is a job: its full name, its parameters, and the shell step of its builds, which runs with sh -xe. The
// program prints its URL once it listens, and ends with its input.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	account := flag.String("account", "", "`user:token` of the only account; none: everyone may do everything")
	token := flag.String("token", "", "authentication token of all jobs")
	flag.Parse()
	if err := serve(*listen, *account, *token, flag.Args()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "jenkinstest:", err)
		os.Exit(1)
	}
}

// serve serves until the input ends.
func serve(listen, account, token string, jobs []string) error {
	var opts jenkinstest.Options
	opts.User, opts.APIToken, _ = strings.Cut(account, ":")
	for _, text := range jobs {
		j, err := parseJob(text)
		if err != nil {
			return err
		}
		j.Token = token
		opts.Jobs = append(opts.Jobs, j)
	}
	l, err := net.Listen("tcp", listen) //nolint:noctx // it takes no time
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	jenkins := jenkinstest.New(opts)
	server := &http.Server{Handler: jenkins, ReadHeaderTimeout: time.Minute}
	_, _ = fmt.Fprintf(os.Stdout, "http://%s/\n", l.Addr())
	go func() { // ends the server
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
		_ = server.Close()
	}()
	err = server.Serve(l)
	jenkins.Close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err //nolint:wrapcheck // it says all
}

// parseJob reads NAME(PARAM,PARAM)=SCRIPT.
func parseJob(text string) (jenkinstest.Job, error) {
	head, script, found := strings.Cut(text, "=")
	if !found {
		return jenkinstest.Job{}, fmt.Errorf("job %q: want NAME=SCRIPT", text)
	}
	name, list, _ := strings.Cut(strings.TrimSuffix(head, ")"), "(")
	j := jenkinstest.Job{Name: name, Run: shell(script)}
	if list != "" {
		j.Params = map[string]string{}
		for param := range strings.SplitSeq(list, ",") {
			j.Params[param] = ""
		}
	}
	return j, nil
}

// shell returns the work of a shell step.
func shell(script string) func(*jenkinstest.Build) string {
	return func(b *jenkinstest.Build) string {
		cmd := exec.CommandContext(b.Context(), "sh", "-xec", script) //nolint:gosec // the script is an argument of this program
		cmd.Env = append(os.Environ(), "JOB_NAME="+b.Job, "BUILD_NUMBER="+strconv.FormatInt(b.Number, 10))
		for name, value := range b.Params {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		cmd.Stdout, cmd.Stderr = b, b
		if err := cmd.Run(); err != nil {
			_, _ = fmt.Fprintf(b, "Build step 'Execute shell' marked build as failure: %v\n", err)
			return "FAILURE"
		}
		return "SUCCESS"
	}
}
