// Package jenkinshome reads the configuration of a Jenkins from its files: jobs and folders,
// the settings of the whole server, and the keys of encrypted values. It reads what Jenkins
// writes, which is more than encoding/xml accepts (see [Parse]), and does not interpret it:
// [Element] is a tree of names and texts. Nothing is written, started or fetched.
//
// An Element records which of its parts were taken, so that an importer can list what it did
// not use (see [Element.Left]). Elements are therefore not safe for concurrent use.
package jenkinshome
