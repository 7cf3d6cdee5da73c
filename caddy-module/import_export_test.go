package caddymodule

import (
	"io"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinsimport"
)

// CheckPlan leaves out the jobs that a Caddyfile cannot contain.
func CheckPlan(plan *jenkinsimport.Plan) error { return checkPlan(plan) }

// CheckCaddyfile compares a Caddyfile with the jobs of a plan.
func CheckCaddyfile(plan *jenkinsimport.Plan, text string) error {
	return checkJobs(plan, text, plan.Jobs)
}

// ImportJenkins returns the files that `import-jenkins` writes, by their paths, and those that
// only their owner can read.
func ImportJenkins(args []string, random io.Reader) (files map[string]string, secret []string, err error) {
	cmd := importCommand()
	if err := cmd.ParseFlags(args); err != nil {
		return nil, nil, err
	}
	plan, _, err := planImport(caddycmd.Flags{FlagSet: cmd.Flags()}, random)
	if err != nil {
		return nil, nil, err
	}
	all, err := importFiles(plan)
	files = map[string]string{}
	for _, f := range all {
		files[f.Path] = f.Text
		if f.Secret {
			secret = append(secret, f.Path)
		}
	}
	return files, secret, err
}
