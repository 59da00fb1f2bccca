"""Images a second of PyTorch's training step: VGG-BN as in the presets, 32x32, fp32.

    python3 pytorch.py vgg16 128 20
"""

import sys
import time

import torch
from torch import nn

CONFIGURATIONS = {
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 A",
}


def network(name):
    layers, channels = [], 3
    for item in CONFIGURATIONS[name].split():
        if item == "M":
            layers.append(nn.MaxPool2d(2))
        elif item == "A":
            layers.append(nn.AdaptiveAvgPool2d(1))
        else:
            width = int(item)
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
            channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 10))


def main():
    name, batch, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.manual_seed(0)
    torch.set_num_threads(2)
    for layout in [torch.contiguous_format, torch.channels_last]:
        net = network(name).to(memory_format=layout).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        x = torch.randn(batch, 3, 32, 32).to(memory_format=layout)
        y = torch.randint(0, 10, (batch,))
        for step in range(steps + 2):
            if step == 2:
                start = time.time()
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        seconds = time.time() - start
        print(f"PyTorch {torch.__version__} {name} batch {batch} {layout}: {batch * steps / seconds:.1f} images/s", flush=True)


main()
