package job

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/org/aml-train/internal/suggest"
)

func (o Options) distribution(j *Job, d *document) {
	kinds := []string{"mpi", "pytorch", "tensorflow", "ray"}
	if o.Distribution != "" {
		kind := strings.ToLower(o.Distribution)
		if !slices.Contains(kinds, kind) {
			d.flagProblem("--%s is %q; it can be %s%s", cmp.Or(o.DistributedAs, "distribution"), o.Distribution,
				strings.Join(kinds, ", "), suggest.DidYouMean(kind, kinds))
			return
		}
		j.Distribution = &Distribution{Type: kind}
		d.given("distribution")
	}
	if o.ProcessCount != 0 {
		switch {
		case o.ProcessCount < 0:
			d.flagProblem("--process-count is %d; it has to be positive", o.ProcessCount)
		case j.Distribution == nil:
			d.flagProblem("--process-count needs --distribution: mpi, pytorch or tensorflow")
		case j.Distribution.Type == "tensorflow":
			j.Distribution.WorkerCount = o.ProcessCount
		default:
			j.Distribution.ProcessCountPerInstance = o.ProcessCount
		}
	}
	switch {
	case o.ServerCount < 0:
		d.flagProblem("--parameter-server-count is %d; it has to be positive", o.ServerCount)
	case o.ServerCount > 0 && (j.Distribution == nil || j.Distribution.Type != "tensorflow"):
		d.flagProblem("--parameter-server-count needs --distribution tensorflow")
	case o.ServerCount > 0:
		j.Distribution.ParameterServerCount = o.ServerCount
	}
	if o.NodeCount < 0 {
		d.flagProblem("--node-count is %d; it has to be positive", o.NodeCount)
	} else if o.NodeCount > 0 {
		if j.Resources == nil {
			j.Resources = &Resources{}
		}
		j.Resources.InstanceCount = o.NodeCount
		d.given("resources")
	}
}

// docker puts arguments of docker run where a job file has them: shared memory has a key of
// its own.
func (o Options) docker(j *Job, d *document) {
	if o.DockerArguments == "" {
		return
	}
	words, err := shellquote.Split(o.DockerArguments)
	if err != nil {
		d.flagProblem("--docker-runtime-config %s: %v", o.DockerArguments, err)
		return
	}
	if e := j.Environment; strings.EqualFold(j.Compute, Local) &&
		(e == nil || e.Image == "" && e.Build == nil && e.Reference == "") {
		d.flagProblem("--docker-runtime-config is for a job in a container; --environment docker:IMAGE names its image")
		return
	}
	resources := Resources{}
	if j.Resources != nil {
		resources = *j.Resources
	}
	var rest []string
	for i := 0; i < len(words); i++ {
		value, ok := strings.CutPrefix(words[i], "--shm-size")
		switch {
		case !ok:
			rest = append(rest, Quote(words[i]))
			continue
		case value == "" && i+1 < len(words):
			i++
			value = words[i]
		}
		resources.ShmSize = strings.ToLower(strings.TrimPrefix(value, "="))
		if !shmSize.MatchString(resources.ShmSize) {
			d.flagProblem("--docker-runtime-config: --shm-size is %q; write a number and b, k, m or g, as in 2g",
				resources.ShmSize)
			return
		}
	}
	if len(rest) > 0 {
		resources.DockerArgs = strings.Join(rest, " ")
	}
	j.Resources = &resources
	d.given("resources")
}
