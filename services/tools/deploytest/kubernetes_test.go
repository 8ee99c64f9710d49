// Package deploytest checks what deploy/ says to Kubernetes and to Docker Compose, without either.
package deploytest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/stretchr/testify/require"
)

const deploy = "../../../deploy"

var overlays = []string{"embedded", "postgres", "postgres-ha"}

// object is what every object of Kubernetes is.
type object interface {
	runtime.Object
	meta.Object
}

// render builds an overlay as `kubectl kustomize` does, and decodes every object into its type; a field that the type does not have
// is an error.
func render(t *testing.T, overlay string) []object {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(deploy, "kubernetes/overlays", overlay))
	require.NoError(t, err)
	text, err := built.AsYaml()
	require.NoError(t, err)

	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, autoscaling.AddToScheme, batch.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme,
		certmanager.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []object
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		decoded, kind, err := decoder.Decode(document, nil, nil)
		require.NoError(t, err, string(document))
		o, ok := decoded.(object)
		require.True(t, ok, kind)
		objects = append(objects, o)
	}
	return objects
}

// of gives the objects of a type.
func of[T object](objects []object) (found []T) {
	for _, o := range objects {
		if typed, ok := o.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// workload is what makes pods.
type workload struct {
	object
	template core.PodTemplateSpec
	selector *meta.LabelSelector // nil for jobs
}

func workloads(objects []object) (all []workload) {
	for _, o := range of[*apps.Deployment](objects) {
		all = append(all, workload{o, o.Spec.Template, o.Spec.Selector})
	}
	for _, o := range of[*apps.StatefulSet](objects) {
		all = append(all, workload{o, o.Spec.Template, o.Spec.Selector})
	}
	for _, o := range of[*batch.Job](objects) {
		all = append(all, workload{o, o.Spec.Template, nil})
	}
	return all
}

func eachOverlay(t *testing.T, run func(t *testing.T, objects []object)) {
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) { run(t, render(t, overlay)) })
	}
}

func TestOverlaysHaveWhatTheyPromise(t *testing.T) {
	count := func(objects []object) map[string]int {
		kinds := map[string]int{}
		for _, o := range objects {
			kinds[o.GetObjectKind().GroupVersionKind().Kind]++
		}
		return kinds
	}
	five := map[string]int{
		"Namespace": 1, "ConfigMap": 1, "Deployment": 5, "Job": 1, "HorizontalPodAutoscaler": 5, "PodDisruptionBudget": 5, "Certificate": 6, "Issuer": 2,
	}
	for overlay, want := range map[string]map[string]int{
		"embedded":    {"Namespace": 1, "StatefulSet": 1, "Service": 1, "ServiceAccount": 1, "NetworkPolicy": 1},
		"postgres":    with(five, map[string]int{"Service": 7, "ServiceAccount": 7, "NetworkPolicy": 8, "StatefulSet": 1}),
		"postgres-ha": with(five, map[string]int{"Service": 6, "ServiceAccount": 6, "NetworkPolicy": 7}),
	} {
		require.Equal(t, want, count(render(t, overlay)), overlay)
	}
	for _, scaler := range of[*autoscaling.HorizontalPodAutoscaler](render(t, "postgres-ha")) {
		require.EqualValues(t, 3, *scaler.Spec.MinReplicas)
	}
}

func with(a, b map[string]int) map[string]int {
	for name, n := range a {
		b[name] = n
	}
	return b
}

// TestImageIsSetInTheOverlay does what `kustomize edit set image prosa=registry.example.com/prosa:1.2.3` does in an overlay's folder: all
// of Prosa's pods have that image.
func TestImageIsSetInTheOverlay(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS(filepath.Join(deploy, "kubernetes"))))
	for _, overlay := range overlays {
		path := filepath.Join(folder, "overlays", overlay)
		file := filepath.Join(path, "kustomization.yaml")
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var kustomization map[string]any
		require.NoError(t, sigsyaml.Unmarshal(text, &kustomization))
		kustomization["images"] = []any{map[string]any{"name": "prosa", "newName": "registry.example.com/prosa", "newTag": "1.2.3"}}
		text, err = sigsyaml.Marshal(kustomization)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, text, 0o600))
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
		require.NoError(t, err)
		text, err = built.AsYaml()
		require.NoError(t, err)
		images := regexp.MustCompile(`image: (\S*prosa\S*)`).FindAllStringSubmatch(string(text), -1)
		require.NotEmpty(t, images)
		for _, image := range images {
			require.Equal(t, "registry.example.com/prosa:1.2.3", image[1], overlay)
		}
	}
}

// TestSecretOfTheReadme checks that the Secret which the README makes has what pods want of it.
func TestSecretOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(deploy, "kubernetes/README.md"))
	require.NoError(t, err)
	made := map[string]bool{}
	for _, literal := range regexp.MustCompile(`--from-literal=([a-z-]+)=`).FindAllStringSubmatch(string(readme), -1) {
		made[literal[1]] = true
	}
	wanted := 0
	eachOverlay(t, func(t *testing.T, objects []object) {
		for _, w := range workloads(objects) {
			for _, env := range w.template.Spec.Containers[0].Env {
				if env.ValueFrom == nil || env.ValueFrom.SecretKeyRef == nil || env.ValueFrom.SecretKeyRef.Optional != nil {
					continue
				}
				wanted++
				require.Equal(t, "prosa", env.ValueFrom.SecretKeyRef.Name)
				require.True(t, made[env.ValueFrom.SecretKeyRef.Key], "%s of %s", env.Name, w.GetName())
			}
		}
	})
	require.NotZero(t, wanted)
}

// TestPodsAreHardened checks the habits of Kubernetes' restricted pod security standard, and a few more.
func TestPodsAreHardened(t *testing.T) {
	eachOverlay(t, func(t *testing.T, objects []object) {
		require.Empty(t, of[*core.Secret](objects), "secrets come from the operator")
		for _, namespace := range of[*core.Namespace](objects) {
			require.Equal(t, "restricted", namespace.Labels["pod-security.kubernetes.io/enforce"])
		}
		for _, account := range of[*core.ServiceAccount](objects) {
			require.False(t, *account.AutomountServiceAccountToken, account.Name)
		}
		accounts := names(of[*core.ServiceAccount](objects))
		for _, w := range workloads(objects) {
			pod := w.template.Spec
			require.Contains(t, accounts, pod.ServiceAccountName, w.GetName())
			require.False(t, *pod.AutomountServiceAccountToken, w.GetName())
			require.True(t, *pod.SecurityContext.RunAsNonRoot, w.GetName())
			require.NotZero(t, *pod.SecurityContext.RunAsUser, w.GetName())
			require.Equal(t, core.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type, w.GetName())
			require.False(t, pod.HostNetwork || pod.HostPID || pod.HostIPC, w.GetName())
			require.Empty(t, pod.InitContainers)
			for _, volume := range pod.Volumes {
				require.Nil(t, volume.HostPath, w.GetName())
			}
			for _, c := range pod.Containers {
				at := w.GetName() + "/" + c.Name
				require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, at)
				require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, at)
				require.Equal(t, []core.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, at)
				require.Empty(t, c.SecurityContext.Capabilities.Add, at)
				for _, list := range []core.ResourceList{c.Resources.Requests, c.Resources.Limits} {
					require.Contains(t, list, core.ResourceCPU, at)
					require.Contains(t, list, core.ResourceMemory, at)
				}
				require.Regexp(t, `:[0-9]`, c.Image, "%s: a version, not what is newest today", at)
				for _, env := range c.Env {
					secret := regexp.MustCompile(`KEY$|PASSWORD$|_URL$`).MatchString(env.Name)
					require.False(t, secret && env.Value != "", "%s: %s comes from a Secret", at, env.Name)
				}
				if w.selector == nil {
					continue // a job ends by itself
				}
				require.NotNil(t, c.StartupProbe, at)
				require.NotNil(t, c.ReadinessProbe, at)
				require.NotNil(t, c.LivenessProbe, at)
				if c.Name == "prosa" {
					require.False(t, *pod.EnableServiceLinks, "%s: the service prosa would become variables PROSA_…", at)
					require.Equal(t, "livez", *c.LivenessProbe.GRPC.Service, "a store that is away restarts nobody")
					require.Equal(t, "readyz", *c.ReadinessProbe.GRPC.Service)
					require.Greater(t, *pod.TerminationGracePeriodSeconds, int64(25+10), "the drain and the stop fit in")
				}
			}
		}
	})
}

// TestReferencesAreMet checks that what names something else names something that there is.
func TestReferencesAreMet(t *testing.T) {
	eachOverlay(t, func(t *testing.T, objects []object) {
		all := workloads(objects)
		matching := func(selector labels.Selector) (found []workload) {
			for _, w := range all {
				if selector.Matches(labels.Set(w.template.Labels)) {
					found = append(found, w)
				}
			}
			return found
		}
		selects := func(name string, s *meta.LabelSelector) []workload {
			selector, err := meta.LabelSelectorAsSelector(s)
			require.NoError(t, err, name)
			found := matching(selector)
			require.NotEmpty(t, found, name)
			return found
		}
		for _, o := range objects {
			if o.GetObjectKind().GroupVersionKind().Kind != "Namespace" {
				require.Equal(t, "prosa", o.GetNamespace(), o.GetName())
			}
		}
		for _, w := range all {
			if w.selector != nil {
				require.Len(t, selects(w.GetName(), w.selector), 1, "%s owns its pods alone", w.GetName())
			}
			configured := names(of[*core.ConfigMap](objects))
			issued := map[string]bool{}
			for _, c := range of[*certmanager.Certificate](objects) {
				issued[c.Spec.SecretName] = true
			}
			for _, volume := range w.template.Spec.Volumes {
				require.True(t, volume.Secret == nil || issued[volume.Secret.SecretName], "%s: a certificate for %s", w.GetName(), volume.Name)
			}
			for _, c := range w.template.Spec.Containers {
				for _, from := range c.EnvFrom {
					require.Contains(t, configured, from.ConfigMapRef.Name)
				}
			}
		}
		for _, service := range of[*core.Service](objects) {
			backends := matching(labels.SelectorFromSet(service.Spec.Selector))
			require.Len(t, backends, 1, service.Name)
			for _, port := range service.Spec.Ports {
				require.True(t, slices.ContainsFunc(backends[0].template.Spec.Containers[0].Ports, func(p core.ContainerPort) bool {
					return p.Name == port.TargetPort.StrVal
				}), "%s: port %s", service.Name, port.Name)
			}
		}
		for _, budget := range of[*policy.PodDisruptionBudget](objects) {
			require.Equal(t, policy.AlwaysAllow, *budget.Spec.UnhealthyPodEvictionPolicy, "a store that is away keeps no node from being emptied")
			require.Len(t, selects(budget.Name, budget.Spec.Selector), 1)
		}
		for _, rule := range of[*networking.NetworkPolicy](objects) {
			selects(rule.Name, &rule.Spec.PodSelector)
		}
		deployments := names(of[*apps.Deployment](objects))
		for _, scaler := range of[*autoscaling.HorizontalPodAutoscaler](objects) {
			require.Contains(t, deployments, scaler.Spec.ScaleTargetRef.Name)
		}
		issuers := names(of[*certmanager.Issuer](objects))
		for _, certificate := range of[*certmanager.Certificate](objects) {
			require.Contains(t, issuers, certificate.Spec.IssuerRef.Name)
		}
	})
}

// TestEveryPodIsBehindANetworkPolicy checks that nobody may come in, or go out, who is not named.
func TestEveryPodIsBehindANetworkPolicy(t *testing.T) {
	eachOverlay(t, func(t *testing.T, objects []object) {
		for _, w := range workloads(objects) {
			for _, direction := range []networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress} {
				require.True(t, slices.ContainsFunc(of[*networking.NetworkPolicy](objects), func(p *networking.NetworkPolicy) bool {
					selector, err := meta.LabelSelectorAsSelector(&p.Spec.PodSelector)
					require.NoError(t, err)
					return slices.Contains(p.Spec.PolicyTypes, direction) && selector.Matches(labels.Set(w.template.Labels))
				}), "%s of %s", direction, w.GetName())
			}
		}
	})
}

// TestTargetsAreServices checks the settings that say where the other roles are, and that each shows a certificate of the name by which
// it is dialled.
func TestTargetsAreServices(t *testing.T) {
	for _, overlay := range []string{"postgres", "postgres-ha"} {
		objects := render(t, overlay)
		certificates := map[string]bool{}
		for _, c := range of[*certmanager.Certificate](objects) {
			for _, name := range c.Spec.DNSNames {
				certificates[name] = true
			}
		}
		targets := 0
		for name, value := range of[*core.ConfigMap](objects)[0].Data {
			if !strings.HasSuffix(name, "_TARGET") {
				continue
			}
			targets++
			host, found := strings.CutSuffix(strings.TrimPrefix(value, "dns:///"), ":9090")
			require.True(t, found, value)
			require.True(t, certificates[host], value)
			service := slices.IndexFunc(of[*core.Service](objects), func(s *core.Service) bool { return s.Name == host })
			require.GreaterOrEqual(t, service, 0, value)
			require.Equal(t, core.ClusterIPNone, of[*core.Service](objects)[service].Spec.ClusterIP, "callers balance by themselves")
		}
		require.Equal(t, 4, targets)
	}
}

// TestRolesKnowNoMoreThanTheyNeed checks which of the keys each role gets, and who may reach PostgreSQL.
func TestRolesKnowNoMoreThanTheyNeed(t *testing.T) {
	stored := []string{"PROSA_DATABASE_URL", "PROSA_SECRET_KEY"}
	want := map[string][]string{
		"accounts": append([]string{"PROSA_ROOT_KEY"}, stored...), "contacts": stored, "agent": stored, "channel": stored, "migrate": stored, "gateway": nil,
	}
	for _, overlay := range []string{"postgres", "postgres-ha"} {
		objects := render(t, overlay)
		for _, w := range workloads(objects) {
			role, part := w.template.Labels["app.kubernetes.io/component"]
			if !part {
				continue // PostgreSQL
			}
			var got []string
			for _, env := range w.template.Spec.Containers[0].Env {
				if from := env.ValueFrom.SecretKeyRef; from.Optional == nil || !*from.Optional {
					got = append(got, env.Name)
				}
			}
			require.ElementsMatch(t, want[role], got, role)
			reaches := slices.ContainsFunc(of[*networking.NetworkPolicy](objects), func(p *networking.NetworkPolicy) bool {
				selector, err := meta.LabelSelectorAsSelector(&p.Spec.PodSelector)
				require.NoError(t, err)
				return selector.Matches(labels.Set(w.template.Labels)) && slices.ContainsFunc(p.Spec.Egress, func(r networking.NetworkPolicyEgressRule) bool {
					return slices.ContainsFunc(r.Ports, func(port networking.NetworkPolicyPort) bool { return port.Port.IntValue() == 5432 })
				})
			})
			require.Equal(t, want[role] != nil, reaches, role)
		}
	}
}

// TestPostgresHasConnectionsForAll counts those of as many processes as the autoscalers may start, and of those that are being replaced.
func TestPostgresHasConnectionsForAll(t *testing.T) {
	source, err := os.ReadFile("../../internal/sqldb/postgres.go")
	require.NoError(t, err)
	number := func(pattern, text string) int {
		found := regexp.MustCompile(pattern).FindStringSubmatch(text)
		require.NotNil(t, found, pattern)
		n, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		return n
	}
	const (
		session = 1  // that of a process outside the pool, for what others tell it
		others  = 10 // migrations, a backup, a person
	)
	each := number(`defaultPoolSize\s+= (\d+)`, string(source)) + session
	objects, needed := render(t, "postgres"), others
	for _, scaler := range of[*autoscaling.HorizontalPodAutoscaler](objects) {
		if scaler.Spec.ScaleTargetRef.Name != "prosa-gateway" {
			needed += (int(scaler.Spec.MaxReplicas) + 1) * each
		}
	}
	server := of[*apps.StatefulSet](objects)[0].Spec.Template.Spec.Containers[0]
	require.GreaterOrEqual(t, number(`max_connections=(\d+)`, strings.Join(server.Args, " ")), needed)
	readme, err := os.ReadFile(filepath.Join(deploy, "kubernetes/README.md"))
	require.NoError(t, err)
	needed = others
	for _, scaler := range of[*autoscaling.HorizontalPodAutoscaler](render(t, "postgres-ha")) {
		if scaler.Spec.ScaleTargetRef.Name != "prosa-gateway" {
			needed += (int(scaler.Spec.MaxReplicas) + 1) * each
		}
	}
	require.GreaterOrEqual(t, number("`max_connections` of (\\d+)", string(readme)), needed, "what the document asks of a PostgreSQL elsewhere")
}

// TestSettingsExist checks every environment variable against what the program knows.
func TestSettingsExist(t *testing.T) {
	known := build(t).settings(t)
	eachOverlay(t, func(t *testing.T, objects []object) {
		for _, m := range of[*core.ConfigMap](objects) {
			for name := range m.Data {
				require.Contains(t, known, name)
			}
		}
		for _, w := range workloads(objects) {
			for _, c := range w.template.Spec.Containers {
				for _, env := range c.Env {
					require.True(t, !strings.HasPrefix(env.Name, "PROSA_") || slices.Contains(known, env.Name), env.Name)
				}
			}
		}
	})
}

func names[T object](objects []T) (all []string) {
	for _, o := range objects {
		all = append(all, o.GetName())
	}
	return all
}
