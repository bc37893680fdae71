package local

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/job"
)

// What comes out of a container is whatever its command made of it.
func TestExtractHostile(t *testing.T) {
	outside := t.TempDir()
	for name, headers := range map[string][]tar.Header{
		"dots":     {{Name: "outputs/../../evil", Typeflag: tar.TypeReg}},
		"absolute": {{Name: "/etc/evil", Typeflag: tar.TypeReg}},
		"through a link": {{Name: "outputs/link", Typeflag: tar.TypeSymlink, Linkname: outside},
			{Name: "outputs/link/evil", Typeflag: tar.TypeReg}},
		"a hard link": {{Name: "outputs/evil", Typeflag: tar.TypeLink,
			Linkname: "outputs/../../../../../../etc/passwd"}},
		"twice":  {{Name: "outputs/a", Typeflag: tar.TypeReg}, {Name: "outputs/a", Typeflag: tar.TypeReg}},
		"a file": {{Name: "outputs", Typeflag: tar.TypeReg}},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			base, err := os.OpenRoot(parent)
			require.NoError(t, err)
			defer base.Close()
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range headers {
				require.NoError(t, w.WriteHeader(&h))
			}
			require.NoError(t, w.Close())
			room := int64(1 << 20)
			err = extract(&b, base, "a/b", &room)
			if name != "absolute" && name != "dots" { // the first part of a path is taken for the topmost folder
				require.Error(t, err)
			}
			for _, folder := range []string{outside, parent, filepath.Join(parent, "a")} {
				_, err := os.Lstat(filepath.Join(folder, "evil"))
				require.ErrorIs(t, err, os.ErrNotExist)
			}
		})
	}
	base, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer base.Close()
	room := int64(1 << 20)
	require.Error(t,
		extract(bytes.NewReader([]byte("no tar, and long enough to be read as one"+string(make([]byte, 600)))), base,
			"a", &room))
}

func TestDockerArgs(t *testing.T) {
	args := func(args string) (*container.Config, *container.HostConfig, error) {
		c, h := &container.Config{}, &container.HostConfig{}
		err := dockerArgs(&job.Resources{ShmSize: "2g", DockerArgs: args}, c, h)
		return c, h, err
	}
	c, h, err := args("--memory=1g -u 1000:1000 --cpus 1.5 --gpus all --ulimit memlock=-1 --pids-limit 100 " +
		"--cpuset-cpus 0,1")
	require.NoError(t, err)
	require.EqualValues(t, 2<<30, h.ShmSize)
	require.EqualValues(t, 1<<30, h.Memory)
	require.EqualValues(t, 1.5e9, h.NanoCPUs)
	require.Equal(t, "1000:1000", c.User)
	require.Equal(t, -1, h.DeviceRequests[0].Count)
	require.Equal(t, "memlock", h.Ulimits[0].Name)
	require.EqualValues(t, 100, *h.PidsLimit)
	require.Equal(t, "0,1", h.CpusetCpus)
	_, h, err = args("--gpus device=0,2 --shm-size 64m")
	require.NoError(t, err)
	require.Equal(t, []string{"0", "2"}, h.DeviceRequests[0].DeviceIDs)
	require.EqualValues(t, 64<<20, h.ShmSize)
	for bad, why := range map[string]string{
		"--privileged": "not allowed", "-v /:/host": "not allowed", "--network=host": "not allowed",
		"--pid host": "not allowed", "--device /dev/sda": "not allowed",
		"--mount type=bind,src=/,dst=/h": "not allowed", "--cap-add ALL": "not allowed",
		"--security-opt seccomp=unconfined": "not allowed", "--ipc=host": "shm_size",
		"-e A=1": "environment_variables", "--memory": "no size", "--cpuset-cpus": "missing",
		"--memory lots": "no size", "--gpus some": "it takes all, how many, or device=ID",
		"--cpus NaN":       "it takes a number, such as 1.5",
		"--pids-limit 1.5": "it takes a whole number", "--ulimit nofile=x": "it takes NAME=SOFT",
		"--ulimit x": "invalid", "'": "docker_args",
	} {
		_, _, err := args(bad)
		require.ErrorContains(t, err, why, bad)
	}
}

// What Docker mounts into a container tells which one it is; what it mounts on the machine
// for those that run there tells nothing.
func TestOwnContainer(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	inside := "612 598 254:0 /var/lib/docker/containers/" + id + "/resolv.conf /etc/resolv.conf rw,relatime - ext4 " +
		"/dev/vda rw\n" +
		"613 598 254:0 /var/lib/docker/containers/" + id + "/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw\n"
	around := "25 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"300 25 0:51 / /var/lib/docker/containers/" + id + "/mounts/shm rw,nosuid - tmpfs shm rw,size=65536k\n" +
		"301 25 254:0 /var/lib/docker/containers/" + id + "/data /mnt/data rw - ext4 /dev/vda rw\n"
	require.Equal(t, id, containerOf([]byte("1 2 3:4 / / rw - overlay overlay rw\n"+inside)))
	require.Empty(t, containerOf([]byte(around)))
	require.Empty(t, containerOf(nil))
}

// TestCurated finds the public images of Microsoft's environments, and of no others.
func TestCurated(t *testing.T) {
	for reference, image := range map[string]string{
		"AzureML-sklearn-1.5@latest":                "sklearn-1.5:latest",
		"azureml:AzureML-ACPT-pytorch-1.13-py38:12": "acpt-pytorch-1.13-py38:12",
		"AzureML-sklearn-0.24-ubuntu18.04-py37-cpu": "sklearn-0.24-ubuntu18.04-py37-cpu:latest",

		"azureml://registries/azureml/environments/sklearn-1.5/versions/26":   "sklearn-1.5:26",
		"azureml://registries/azureml/environments/sklearn-1.5/labels/latest": "sklearn-1.5:latest",
		"azureml://registries/mine/environments/sklearn-1.5/versions/26":      "",
		"azureml:ours:3": "", "azureml:ours@latest": "", "AzureML-x/../../y:1": "", "": "",
	} {
		if image != "" {
			image = "mcr.microsoft.com/azureml/curated/" + image
		}
		require.Equal(t, image, curatedImage(reference), reference)
	}
}
