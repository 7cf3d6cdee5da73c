package caddymodule

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinsimport"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import-jenkins <home>|<config.xml>... [--out <dir>] [--relay <url>]",
		Short: "Turns the jobs of a Jenkins into a Caddyfile, scripts and a report",
		Long: `
Reads a JENKINS_HOME, files config.xml or NAME.xml of jobs, or a directory of
them. It works offline, changes nothing in Jenkins, and needs no running Caddy.

It writes a Caddyfile, the scripts of the jobs (jobs/), and a report
(import-report.md and import-report.json), which says of each job whether it was
imported, imported with notes, or left out, and why. Only jobs whose builds do the
same here are imported. With --relay, the others are imported too, as jobs
that run in the Jenkins behind this server.

The paths of the scripts in the Caddyfile are absolute: choose --out where the
files are going to stay. Existing files are not overwritten without --overwrite.

Exit status: 0 if the files were written, also if jobs were left out, else 1.`,
		Example: `  caddy build-token import-jenkins /var/lib/jenkins --out /etc/caddy/jenkins
  caddy build-token import-jenkins /var/lib/jenkins --out /etc/caddy/jenkins --relay https://jenkins.internal/`,
		Args: cobra.MinimumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runImport),
	}
	cmd.Flags().StringP("out", "o", ".", "The directory for the files")
	cmd.Flags().String("relay", "", "The URL of the Jenkins that runs the jobs which cannot run here")
	cmd.Flags().Bool("relay-all", false, "Relay all jobs, also those that can run here")
	cmd.Flags().String("tokens", string(jenkinsimport.TokenDigest), "What becomes of tokens: digest, file or new")
	cmd.Flags().String("secrets", "", "The JENKINS_HOME that has the keys, if it is not the one that is imported")
	cmd.Flags().Bool("overwrite", false, "Replace files that exist")
	return cmd
}

func runImport(flags caddycmd.Flags) (int, error) {
	plan, dir, err := planImport(flags, rand.Reader)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	files, err := importFiles(plan)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if err := writeImport(dir, files, flags.Bool("overwrite")); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	_, err = fmt.Fprintf(os.Stdout, "%s\nRead %s, then run: caddy build-token check %s\n",
		plan.Report.Summary(), filepath.Join(dir, reportFile), filepath.Join(dir, caddyfileFile))
	return exitCode(err), err
}

// planImport reads what the command line names, and returns what to write into the directory dir.
func planImport(flags caddycmd.Flags, random io.Reader) (plan *jenkinsimport.Plan, dir string, err error) {
	options, err := importOptions(flags)
	if err != nil {
		return nil, "", err
	}
	options.Random = random
	homes, err := readHomes(flags.Args(), flags.String("secrets"), &options)
	if err != nil {
		return nil, "", err
	}
	if plan, err = jenkinsimport.New(homes, options); err != nil {
		return nil, "", err
	}
	if len(plan.Report.Jobs) == 0 {
		return nil, "", fmt.Errorf("there are no jobs in %s; name a JENKINS_HOME, or the config.xml of a job", strings.Join(flags.Args(), ", "))
	}
	if err := checkPlan(plan); err != nil {
		return nil, "", err
	}
	plan.Finish()
	return plan, filepath.FromSlash(options.Dir), nil
}

// Names of the files that an import always writes.
const (
	caddyfileFile  = "Caddyfile"
	reportFile     = "import-report.md"
	reportJSONFile = "import-report.json"
)

func importOptions(flags caddycmd.Flags) (jenkinsimport.Options, error) {
	options := jenkinsimport.Options{
		Relay: flags.String("relay"), RelayAll: flags.Bool("relay-all"), Tokens: jenkinsimport.TokenMode(flags.String("tokens")),
	}
	switch options.Tokens {
	case jenkinsimport.TokenDigest, jenkinsimport.TokenFile, jenkinsimport.TokenNew:
	default:
		return options, fmt.Errorf("--tokens: %q is none of digest, file and new", options.Tokens)
	}
	if options.RelayAll && options.Relay == "" {
		return options, errors.New("--relay-all: name the Jenkins with --relay <url>")
	}
	if options.Relay != "" {
		if _, err := jenkinsrunner.New(jenkinsrunner.Config{URL: options.Relay, Job: "job"}); err != nil {
			return options, fmt.Errorf("--relay: %w", err)
		}
		if strings.ContainsAny(options.Relay, "{}@?#") {
			return options, errors.New("--relay: the URL of Jenkins has no account, query or placeholder; jobs log in with JENKINS_USER and JENKINS_API_TOKEN")
		}
	}
	dir, err := filepath.Abs(flags.String("out"))
	if err != nil {
		return options, fmt.Errorf("--out: %w", err)
	}
	if strings.ContainsAny(dir, "{}\n`") {
		return options, fmt.Errorf("--out: %s has characters that mean something in a Caddyfile; choose another directory", dir)
	}
	options.Dir = filepath.ToSlash(dir)
	return options, nil
}

// readHomes reads what is named on the command line.
func readHomes(paths []string, secrets string, options *jenkinsimport.Options) ([]jenkinshome.Home, error) {
	var homes []jenkinshome.Home
	keys := secrets
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read the jobs: %w", err)
		}
		if !info.IsDir() {
			item := jenkinshome.ReadFile(os.DirFS(filepath.Dir(absolute)), filepath.Base(absolute), filepath.ToSlash(absolute))
			if item.Config != nil && item.Config.Name == "hudson" {
				return nil, fmt.Errorf("%s is the configuration of a whole Jenkins; name its directory, or the config.xml of a job", path)
			}
			item.Source = filepath.ToSlash(path)
			homes = append(homes, jenkinshome.Home{Items: []jenkinshome.Item{item}})
			if keys == "" {
				keys = homeOf(absolute)
			}
			continue
		}
		home, err := jenkinshome.Read(os.DirFS(absolute), filepath.Base(absolute), filepath.ToSlash(path))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		homes = append(homes, home)
		if keys == "" {
			keys = homeOf(absolute)
		}
	}
	if keys == "" {
		return homes, nil
	}
	var err error
	options.Keys, err = jenkinshome.ReadKeys(os.DirFS(keys))
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("read the keys of %s: %w; run the command as a user who may read them", keys, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys of %s: %w", keys, err)
	}
	if secrets != "" && options.Keys.Empty() {
		return nil, fmt.Errorf("--secrets: %s has no secrets/master.key; name a JENKINS_HOME", secrets)
	}
	return homes, nil
}

// homeOf returns the directory at or above a path that has the keys of a Jenkins, or "".
func homeOf(path string) string {
	for {
		for _, key := range []string{filepath.Join("secrets", "master.key"), "secret.key"} {
			if _, err := os.Stat(filepath.Join(path, key)); err == nil {
				return path
			}
		}
		up := filepath.Dir(path)
		if up == path {
			return ""
		}
		path = up
	}
}

// importFiles returns all files of an import.
func importFiles(plan *jenkinsimport.Plan) ([]jenkinsimport.File, error) {
	report, err := plan.Report.JSON()
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	return append(plan.Files(),
		jenkinsimport.File{Path: reportJSONFile, Text: string(report)},
		jenkinsimport.File{Path: reportFile, Text: plan.Report.Markdown()},
		jenkinsimport.File{Path: caddyfileFile, Text: plan.Caddyfile()}), nil
}

// writeImport writes all files, or none if one of them exists. The Caddyfile comes last.
func writeImport(dir string, files []jenkinsimport.File, overwrite bool) error {
	if !overwrite {
		for _, f := range files {
			switch _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Path))); {
			case err == nil:
				return fmt.Errorf("%s exists already, and nothing was written; choose another directory with --out, or replace the files with --overwrite", filepath.Join(dir, filepath.FromSlash(f.Path)))
			case !errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("write the import: %w", err)
			}
		}
	}
	for i, f := range files {
		err := writeImported(dir, f, overwrite)
		if err == nil {
			continue
		}
		if !overwrite { // half an import would be in the way of the next one
			for _, written := range files[:i] {
				_ = os.Remove(filepath.Join(dir, filepath.FromSlash(written.Path))) // the error that counts is err
			}
		}
		return fmt.Errorf("write the import: %w", err)
	}
	return nil
}

func writeImported(dir string, f jenkinsimport.File, overwrite bool) error {
	path := filepath.Join(dir, filepath.FromSlash(f.Path))
	// Scripts can have passwords in them, but Caddy usually runs as another user than the one who imports.
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	mode := fs.FileMode(0o640)
	if f.Secret {
		mode = 0o600
	}
	if overwrite {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // its mode or a link would stay
			return err //nolint:wrapcheck // it names the path
		}
	}
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the user chose the directory
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	_, err = io.WriteString(to, f.Text)
	if err = errors.Join(err, to.Close()); err != nil {
		_ = os.Remove(path) // the error that counts is err
	}
	return err //nolint:wrapcheck // it names the path
}
