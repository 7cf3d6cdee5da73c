package operating_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/parser"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var repository = filepath.Join("..", "..")

// TestDockerfile parses it as BuildKit does, and checks what can be known without running it.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := dockerfile.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range parsed.Warnings {
		t.Errorf("warning: %+v", w)
	}
	stages, args, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`caddyserver/caddy/v2 v(\S+)`).FindStringSubmatch(string(mod))[1]
	if len(args) != 1 || args[0].Args[0].Key != "CADDY_VERSION" || *args[0].Args[0].Value != want {
		t.Errorf("arguments %v, want the version of Caddy in go.mod, %s", args, want)
	}
	if len(stages) != 2 || stages[0].BaseName != "caddy:${CADDY_VERSION}-builder" || stages[1].BaseName != "caddy:${CADDY_VERSION}" {
		t.Errorf("stages %+v, want Caddy's builder image and its image", stages)
	}
	last := map[string]string{} // by instruction
	for _, c := range stages[1].Commands {
		last[c.Name()] = strings.TrimSpace(c.(interface{ String() string }).String())
	}
	if got := last["USER"]; !strings.HasPrefix(got, "USER 1000") {
		t.Errorf("%q, want a user that is not root", got)
	}
	if got := last["HEALTHCHECK"]; !strings.Contains(got, "/build_token/ready") {
		t.Errorf("%q, want the readiness address", got)
	}
	if got := last["ENTRYPOINT"]; !strings.Contains(got, "tini") {
		t.Errorf("%q, want an init", got)
	}
}

// TestKubernetesExample decodes each object strictly: an unknown or misplaced field, or a value
// of another type, is an error. Then it checks that the parts fit together.
func TestKubernetesExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs", "kubernetes.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config core.ConfigMap
	var claim core.PersistentVolumeClaim
	var deployment apps.Deployment
	var service core.Service
	objects := []any{&config, &claim, &deployment, &service}
	documents := strings.Split(string(text), "\n---\n")
	if len(documents) != len(objects) {
		t.Fatalf("%d objects, want %d", len(documents), len(objects))
	}
	for i, document := range documents {
		if err := yaml.UnmarshalStrict([]byte(document), objects[i]); err != nil {
			t.Fatalf("object %d: %v", i, err)
		}
	}
	pod := deployment.Spec.Template
	if got := pod.Labels["app"]; got != deployment.Spec.Selector.MatchLabels["app"] || got != service.Spec.Selector["app"] || got == "" {
		t.Error("the labels of deployment, pod and service differ")
	}
	if deployment.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType || *deployment.Spec.Replicas != 1 {
		t.Errorf("strategy %v of %d pods: two pods cannot share a file", deployment.Spec.Strategy, *deployment.Spec.Replicas)
	}
	c := pod.Spec.Containers[0]
	if c.ReadinessProbe.HTTPGet.Path != "/build_token/ready" || c.LivenessProbe.HTTPGet.Path == c.ReadinessProbe.HTTPGet.Path {
		t.Errorf("probes: ready %+v, live %+v", c.ReadinessProbe.HTTPGet, c.LivenessProbe.HTTPGet)
	}
	if !slices.ContainsFunc(c.Ports, func(p core.ContainerPort) bool { return p.Name == c.ReadinessProbe.HTTPGet.Port.StrVal }) {
		t.Error("the probe asks a port that does not exist")
	}
	if pod.Spec.SecurityContext.FSGroup == nil || !*pod.Spec.ShareProcessNamespace {
		t.Error("fsGroup or the shared process namespace is missing")
	}
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("mount %s has no volume", m.Name)
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName != claim.Name || v.ConfigMap != nil && v.ConfigMap.Name != config.Name {
			t.Errorf("volume %s refers to an object that does not exist", v.Name)
		}
	}
	for _, part := range []string{"respond " + c.LivenessProbe.HTTPGet.Path, "\tready\n", "shutdown_delay "} {
		if !strings.Contains(config.Data["Caddyfile"], part) {
			t.Errorf("the Caddyfile has no %q", part)
		}
	}
}
