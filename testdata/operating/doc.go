// Package operating checks the files that operators copy: alert rules, the dashboard, the
// Dockerfile and the Kubernetes example. It is a module apart, so that nothing of what it
// needs is linked into the product.
package operating
