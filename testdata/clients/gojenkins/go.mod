// Module gojenkins tries a client that others wrote against the program. It is a
// module of its own, so that the client stays out of the module graph of those who
// build with buildtoken.
module github.com/buildtoken/buildtoken/testdata/clients/gojenkins

go 1.26.0

require github.com/bndr/gojenkins v1.2.0

require golang.org/x/net v0.0.0-20210924151903-3ad01bbaa167 // indirect
