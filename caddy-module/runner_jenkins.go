package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

func init() {
	caddy.RegisterModule(new(JenkinsRunner))
}

// JenkinsRunner triggers a job of a Jenkins behind this server as the build, with its parameters and files, and follows
// that to its end: it copies the console log and the result, and stops the build there when this one is stopped.
//
// In all fields, placeholders like `{env.NAME}` and `{file./path}` are replaced once, when the configuration is loaded.
type JenkinsRunner struct {
	// The root URL of Jenkins.
	URL string `json:"url"`

	// The full name of the job there, as in `folder/job`.
	Job string `json:"job"`

	// The name of the user who triggers the job and reads its builds.
	User string `json:"user,omitempty"`

	// The user's API token. A password does not work.
	APIToken string `json:"api_token,omitempty"`

	// The token with which the job can be triggered remotely. Default: none.
	JobToken string `json:"job_token,omitempty"`

	// How long to try again while Jenkins cannot be reached, before it has got the trigger. Default: 1h.
	RetryFor caddy.Duration `json:"retry_for,omitempty"`

	// How long Jenkins may be silent before the build fails. Default: 15m.
	LostAfter caddy.Duration `json:"lost_after,omitempty"`

	runner *jenkinsrunner.Runner
}

// CaddyModule returns the Caddy module information.
func (*JenkinsRunner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token.runners.jenkins",
		New: func() caddy.Module { return new(JenkinsRunner) },
	}
}

// UnmarshalCaddyfile reads the job to trigger. Syntax:
//
//	runner jenkins <base url> <job> {
//		user       <name> <api token>
//		job_token  <secret>
//		retry_for  <duration>
//		lost_after <duration>
//	}
func (j *JenkinsRunner) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	args, err := arguments(d, "runner jenkins", 2, 2)
	if err != nil {
		return err
	}
	j.URL, j.Job = args[0], args[1]
	p, seen := parser{d: d}, once{}
	return block(d, func(name string) (err error) {
		if err := seen.check(d, name, "user", "job_token", "retry_for", "lost_after"); err != nil {
			return err
		}
		switch name {
		case "user":
			account, err := arguments(d, name, 2, 2)
			if err == nil {
				j.User, j.APIToken = account[0], account[1]
			}
			return err
		case "job_token":
			return p.text(&j.JobToken, name)
		case "retry_for":
			j.RetryFor, err = p.duration(name)
			return err
		case "lost_after":
			j.LostAfter, err = p.duration(name)
			return err
		}
		return unknown(d, name, "runner jenkins")
	})
}

// Provision checks the configuration. It contacts no other system.
func (j *JenkinsRunner) Provision(caddy.Context) error {
	replaced, err := replaceAll([]string{j.URL, j.Job, j.User})
	if err != nil {
		return err
	}
	config := jenkinsrunner.Config{
		URL: replaced[0], Job: replaced[1], User: replaced[2],
		RetryFor: time.Duration(j.RetryFor), LostAfter: time.Duration(j.LostAfter),
	}
	if strings.Contains(config.URL+config.Job, "{param.") {
		return errors.New("the job must not depend on a parameter")
	}
	if config.APIToken, err = outgoingSecret(j.APIToken); err != nil {
		return fmt.Errorf("user: the API token: %w", err)
	}
	if config.JobToken, err = outgoingSecret(j.JobToken); err != nil {
		return fmt.Errorf("job_token: %w", err)
	}
	j.runner, err = jenkinsrunner.New(config)
	return err
}

// outgoingSecret returns a secret that is shown to another system, empty if none is configured.
func outgoingSecret(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	secret, err := placeholders{}.replace(text)
	if err != nil {
		return "", err
	}
	if _, err := token.ParseDigest(secret); err == nil {
		return "", errors.New("a digest cannot be sent; give the secret itself")
	}
	_, err = token.ParseSecret(secret)
	return secret, err //nolint:wrapcheck // its caller names the secret
}

// Run implements [runner.Runner].
func (j *JenkinsRunner) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return j.runner.Run(ctx, b, log)
}

// Remote implements [runner.Remote].
func (*JenkinsRunner) Remote() {}

var (
	_ caddy.Provisioner     = (*JenkinsRunner)(nil)
	_ caddyfile.Unmarshaler = (*JenkinsRunner)(nil)
	_ runner.Remote         = (*JenkinsRunner)(nil)
)
