// Package jenkinsimport turns the jobs of a Jenkins into jobs of this project: a Caddyfile,
// the scripts of the jobs, and a report. It decides and writes texts; it opens no file, starts
// nothing, and sends nothing.
//
// A job is imported only if its builds do the same here. What cannot be the same is reported,
// never guessed: a job with such a part is left out, or relayed to the Jenkins behind this
// server, and what only belongs to the surroundings of a build (mail, permissions, triggers of
// plugins) becomes a note. Every element of a configuration that has content is used or has a
// line in the report.
package jenkinsimport
