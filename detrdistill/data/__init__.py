"""Images and targets for the detectors: COCO data through torchvision transforms."""
